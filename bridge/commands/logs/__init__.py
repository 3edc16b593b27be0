"""`bridge logs`: finds the worker of a job, and shows its log."""
