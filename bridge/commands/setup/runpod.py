"""The step of `bridge setup` that asks for the RunPod key and the endpoint, and checks both.

A proposal of endpoints from RunPod's catalogue, with prices and stock, belongs here, too: `ask` then gets the
management key, and `bridge.commands.setup.texts` the proposed tables instead of one endpoint.
"""

from bridge.commands.setup.context import Context
from bridge.commands.setup.inputs import checked
from bridge.config.types import EndpointId, RunPodKey
from bridge.errors import AuthError, BridgeError, ConfigError, Rejected

TRIES = 3
"""How often a person may type a key or an endpoint."""


async def ask(context: Context) -> None:
    """Get a key and an endpoint, and check that the key may use it. The endpoint may be left out.

    Raises:
        BridgeError: the check failed; the message says what to do.
    """
    progress = context.progress
    if _is_known(context):
        return
    for left in reversed(range(TRIES)):
        try:
            key, endpoint = _key(context), _endpoint(context)
            if endpoint:
                await _check(context, key, endpoint)
            break
        except (AuthError, Rejected, ConfigError) as error:
            if not left or not _can_be_asked(context, error):
                raise
            context.terminal.say(f"{error}. Try again.")
    progress.runpod_api_key, progress.endpoint = key, endpoint
    context.save()


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
    fixed = given.runpod_api_key if isinstance(error, AuthError) else given.endpoint
    return context.terminal.interactive and fixed is None


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
