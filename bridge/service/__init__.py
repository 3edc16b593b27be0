"""The long-running service: HTTP server, intake of deliveries, loop of passes, and metrics."""
