"""The step of `bridge setup` that asks for RunPod's keys, and for an endpoint or proposes some."""

from bridge.commands.setup.context import Context
from bridge.commands.setup.inputs import checked
from bridge.commands.setup.proposing import management_key, proposed
from bridge.config.types import EndpointId, RunPodKey
from bridge.errors import AuthError, BridgeError, ConfigError, Rejected

TRIES = 3
"""How often a person may type a key or an endpoint."""


async def ask(context: Context) -> None:
    """Get the run-time key, and an endpoint or endpoints to create. Both may be left out.

    Raises:
        BridgeError: a check failed; the message says what to do.
    """
    if _is_known(context):
        return
    for left in reversed(range(TRIES)):
        try:
            await _asked(context)
            break
        except (AuthError, Rejected, ConfigError) as error:
            if not left or not _can_be_asked(context, error):
                raise
            context.terminal.say(f"{error}. Try again.")
    context.save()


async def _asked(context: Context) -> None:
    """Ask once, and check what was said."""
    progress, wanted = context.progress, context.given.wanted
    key = _key(context)
    manages = management_key(context) if wanted.proposed and context.given.endpoint is None else None
    if manages:
        progress.endpoints = await proposed(context, manages)
        context.terminal.say("The run-time key is checked by `bridge doctor`, once the endpoints exist.")
        endpoint = ""
    else:
        endpoint = _endpoint(context)
        if endpoint:
            await _check(context, key, endpoint)
    progress.runpod_api_key, progress.endpoint = key, endpoint
    progress.management_key = manages if wanted.keep_management_key else None


def _is_known(context: Context) -> bool:
    """Whether an interrupted run has stored both, and this run has no other values."""
    given, progress = context.given, context.progress
    return (
        progress.runpod_api_key is not None
        and progress.endpoint is not None
        and given.runpod_api_key in (None, progress.runpod_api_key)
        and given.endpoint in (None, progress.endpoint)
    )


def _can_be_asked(context: Context, error: BridgeError) -> bool:
    """Whether the person can correct this by another answer."""
    given = context.given
    if isinstance(error, AuthError):  # of either key
        fixed = given.runpod_api_key and (given.wanted.management_key or not given.wanted.proposed)
    else:
        fixed = given.endpoint
    return context.terminal.interactive and not fixed


def _key(context: Context) -> str:
    if context.given.runpod_api_key:
        return context.given.runpod_api_key
    typed = context.terminal.ask_secret(
        "RunPod API key that may use your endpoints (not shown)",
        "RUNPOD_API_KEY: missing; set it to a key that may use the endpoints",
    )
    value = checked(RunPodKey, typed, "RunPod API key")
    if not value:
        raise ConfigError("RunPod API key: missing; create one in RunPod's console under Settings, API Keys")
    return str(value.get_secret_value())


def _endpoint(context: Context) -> str:
    if context.given.endpoint is not None:
        return context.given.endpoint
    if not context.terminal.interactive:
        return ""
    typed = context.terminal.ask("RunPod endpoint id (Enter if you have none yet)", "RUNPOD_ENDPOINT_ID: missing")
    return str(checked(EndpointId, typed, "RunPod endpoint id")) if typed else ""


async def _check(context: Context, key: str, endpoint: str) -> None:
    """Ask the endpoint for its health: this needs the right key and starts no worker."""
    from bridge.runpod.requests import RunPod

    runpod = RunPod(api_key=key, base_url=context.given.runpod_url, clock=context.timing.clock)
    try:
        with context.terminal.waiting(f"Checking the RunPod endpoint {endpoint}"):
            health = await runpod.health(endpoint)
    finally:
        runpod.close()
    context.terminal.say(f"RunPod endpoint {endpoint}: ok, {health.in_queue} requests in its queue")
