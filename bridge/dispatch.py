"""`python -m bridge.dispatch`."""

from bridge.commands.dispatch import app

if __name__ == "__main__":
    app()
