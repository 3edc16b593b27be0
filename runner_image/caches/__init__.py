"""The caches of jobs on an endpoint's network volume. The hooks start `program.py`, as the user of the jobs.

Standard library only: it runs with the system's Python. Whatever fails costs a warning line in the job's log.
"""
