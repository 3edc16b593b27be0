"""Builds the images as users do, runs jobs in the worker's, and serves with the bridge's: `make image-check`."""
