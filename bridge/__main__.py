"""`python -m bridge`."""

from bridge.cli import app

app()
