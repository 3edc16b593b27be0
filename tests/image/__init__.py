"""Builds the worker image as users do and runs jobs in it: `make image-check`."""
