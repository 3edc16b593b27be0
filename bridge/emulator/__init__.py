"""Stateful stand-ins for GitHub and RunPod over loopback HTTP, for tests and the demo."""
