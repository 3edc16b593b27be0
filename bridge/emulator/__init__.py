"""Emulated GitHub and RunPod over loopback HTTP, with state, for tests and the demo."""
