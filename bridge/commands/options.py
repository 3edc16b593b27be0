"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from bridge import __version__


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"runpod-actions-bridge {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", help="Path of bridge.toml. Default: BRIDGE_CONFIG, else ./bridge.toml if it exists."),
]
Repository = Annotated[Path | None, typer.Option(help="A local git repository. Default: a sample with one workflow.")]
Event = Annotated[str, typer.Option(help="The event that triggers the workflows.")]
Workers = Annotated[int, typer.Option(min=1, help="The most workers that run at the same time.")]
RunnerDir = Annotated[
    Path | None,
    typer.Option(
        "--runner-dir",
        metavar="DIR",
        help="The folder of an official runner, for the workers. Default: a stand-in.",
    ),
]
RouteLabels = Annotated[
    list[str] | None,
    typer.Option("--label", help="A label of the demo's route; repeat it for more. Default: runpod, gpu."),
]
NamedRoutes = Annotated[
    list[str] | None, typer.Option("--route", metavar="NAME=LABEL,LABEL", help="A route; repeat it for more.")
]
RoutesFile = Annotated[Path | None, typer.Option("--config", help="Use the labels of the routes of this bridge.toml.")]
RouteName = Annotated[str, typer.Argument(metavar="ROUTE", help="The route's name, as `bridge routes` lists it.")]
