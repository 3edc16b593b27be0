"""The long-running service: HTTP, intake, loop and metrics."""
