"""Adapters that tell others what the bridge does: a collector of traces, and people."""
