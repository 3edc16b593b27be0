"""The command `bridge setup`.

Imports stay within the functions that need them: `--help` answers at once.
"""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.errors import BridgeError, ConfigError

if TYPE_CHECKING:
    from bridge.commands.setup.inputs import Options

STOPPED = 128 + signal.SIGINT
"""The exit status of a command that SIGINT ended."""


def setup(  # noqa: PLR0913, PLR0917 - each is an option of its own
    org: Annotated[
        str | None, typer.Option(help="The organisation whose jobs are served. Default: GITHUB_ORG.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="USER", help="A user instead: runners register at each repository.")
    ] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Where the files are written.")] = Path(),
    webhook_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="For the service: send GitHub's events there, https://HOST/webhook."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="ID", help="The RunPod endpoint. Default: RUNPOD_ENDPOINT_ID.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="POOL[,POOL]", help="GPU pools of the new endpoint. Default: the cheapest.")
    ] = None,
    gpu_memory: Annotated[int, typer.Option(min=1, metavar="GB", help="Memory that a GPU needs at least.")] = 16,
    image: Annotated[
        str | None, typer.Option(help="Image of the GPU workers, such as ghcr.io/acme/worker:1-gpu.")
    ] = None,
    cpu_image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Propose a CPU endpoint, too, with this image.")
    ] = None,
    no_endpoints: Annotated[bool, typer.Option("--no-endpoints", help="Propose no endpoints.")] = False,
    keep_management_key: Annotated[
        bool, typer.Option("--keep-management-key", help="Write RunPod's management key to secrets.env.")
    ] = False,
    app_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The GitHub App's name, unique on all of GitHub.")
    ] = None,
    rerun_lost_jobs: Annotated[
        int,
        typer.Option(min=0, max=3, metavar="TIMES", help="Re-run jobs that lost their worker; needs actions: write."),
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Write a page to open on any machine, and paste GitHub's answer.")
    ] = False,
    code: Annotated[str | None, typer.Option(help="The code from GitHub's answer, if you have it already.")] = None,
    non_interactive: Annotated[
        bool, typer.Option("--non-interactive", help="Ask nothing: take all from options and environment.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files without asking.")] = False,
    wait: Annotated[
        float, typer.Option(min=1, max=3600, metavar="SECONDS", help="How long to wait for you at GitHub.")
    ] = 600,
) -> None:
    """Register and install the GitHub App, propose RunPod endpoints, and write app.pem, secrets.env and bridge.toml.

    A run that was interrupted continues where it stopped. To use an existing App, set GITHUB_APP_CLIENT_ID and
    GITHUB_APP_PRIVATE_KEY or GITHUB_APP_PRIVATE_KEY_FILE. RunPod's keys come from RUNPOD_API_KEY and
    RUNPOD_MANAGEMENT_API_KEY, or are asked for; the second one is needed only to propose endpoints.

    Exit status: 0 done, 1 GitHub or RunPod refused or failed, 2 something given is wrong.
    """
    import asyncio

    from bridge.commands.setup.inputs import Options

    options = Options(
        org=org,
        account=account,
        webhook_url=webhook_url,
        app_name=app_name,
        code=code,
        endpoint=endpoint,
        no_browser=no_browser,
        overwrite=overwrite,
        wait=wait,
        no_endpoints=no_endpoints,
        keep_management_key=keep_management_key,
        gpu=gpu,
        gpu_memory=gpu_memory,
        image=image,
        cpu_image=cpu_image,
        rerun_lost_jobs=rerun_lost_jobs,
    )
    try:
        asyncio.run(_set_up(options, folder, interactive=not non_interactive))
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("bridge: interrupted; run the same command again: it continues where it stopped", err=True)
        raise typer.Exit(STOPPED) from None


async def _set_up(options: "Options", path: Path, *, interactive: bool) -> None:
    from bridge.commands.setup.folder import Folder
    from bridge.commands.setup.inputs import given
    from bridge.commands.setup.steps import Unfinished, run
    from bridge.commands.setup.terminal import Terminal
    from bridge.github.transport import http_client

    try:
        async with http_client() as http:
            await run(given(options), Terminal(interactive=interactive), Folder(path), http)
    except BridgeError as error:
        typer.echo(f"bridge: {error}", err=True)
        cause = error.error if isinstance(error, Unfinished) else error
        raise typer.Exit(2 if isinstance(cause, ConfigError) else 1) from None
