"""`python -m bridge.dispatch`, the same as `bridge dispatch`."""

import typer

from bridge.commands.dispatch import dispatch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(dispatch)

if __name__ == "__main__":
    app()
