"""`bridge doctor`: checks everything that a job needs, and says how to fix what is wrong."""
