"""`python -m bridge`, the same as `bridge`."""

from bridge.commands.app import app

if __name__ == "__main__":
    app()
