"""The service's pages: what waits, runs and has ended, and why. They decide nothing: they show the plan."""
