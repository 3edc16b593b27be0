"""`bridge`, also `python -m bridge`: puts the commands together.

Heavy imports stay within the commands' functions: `--help` and `--version` answer at once.
"""

import typer

from bridge.commands.budget import budget
from bridge.commands.cancel import cancel
from bridge.commands.cost import cost
from bridge.commands.demo import demo
from bridge.commands.dispatch import dispatch
from bridge.commands.doctor.command import doctor
from bridge.commands.emulate import emulate
from bridge.commands.endpoints.command import endpoints
from bridge.commands.explain import explain
from bridge.commands.jobs import jobs
from bridge.commands.logs.command import logs
from bridge.commands.options import Version
from bridge.commands.pause import pause
from bridge.commands.resume import resume
from bridge.commands.retry import retry
from bridge.commands.routes import routes
from bridge.commands.setup.command import setup
from bridge.commands.simulate import simulate
from bridge.commands.submissions import submissions

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def bridge(_version: Version = False) -> None:
    """Run GitHub Actions jobs on RunPod serverless workers, on demand."""


for command in (
    setup,
    doctor,
    dispatch,
    jobs,
    explain,
    logs,
    submissions,
    routes,
    pause,
    resume,
    cancel,
    retry,
    cost,
    budget,
    demo,
    emulate,
    simulate,
):
    app.command()(command)
app.add_typer(endpoints, name="endpoints")
