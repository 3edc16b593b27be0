"""The part of `bridge setup` that proposes RunPod endpoints: the catalog as a table, a choice, and the images."""

from bridge.commands.management import management
from bridge.commands.setup.context import Context
from bridge.commands.setup.inputs import checked, pools_in
from bridge.commands.setup.progress import NewEndpoint
from bridge.commands.setup.texts import PREFIX
from bridge.config.endpoints import Image
from bridge.config.management import mark_of
from bridge.config.types import RunPodKey
from bridge.core.proposal import VCPUS, Account, Pool, Proposal, ProposedEndpoint, Wish, fitting, pools, propose
from bridge.errors import ConfigError

KEY_SETTING = "RUNPOD_MANAGEMENT_API_KEY"


def management_key(context: Context) -> str | None:
    """The key that may read the catalog and the endpoints; None if the person has none."""
    wanted = context.given.wanted
    if wanted.management_key or not context.terminal.interactive:
        return wanted.management_key
    kept = "kept in secrets.env" if wanted.keep_management_key else "used now and not kept"
    typed = context.terminal.ask_secret(
        f"RunPod management key, {kept} (not shown, Enter if you have none)", KEY_SETTING
    )
    value = checked(RunPodKey, typed, KEY_SETTING) if typed else None
    return str(value.get_secret_value()) if value else None


async def proposed(context: Context, key: str) -> tuple[NewEndpoint, ...]:
    """The endpoints that the person accepts.

    Args:
        context: of the run.
        key: the management key.

    Raises:
        AuthError, RateLimited, Rejected, Unavailable: RunPod could not be read.
        ConfigError: nothing fits, or an image is missing.
    """
    account = await _account(context, key)
    found = _decided(context, account)
    for note in found.notes:
        context.terminal.say(f"Note: {note}.")
    return tuple(_new(context, each) for each in found.endpoints)


async def _account(context: Context, key: str) -> Account:
    wanted = context.given.wanted
    async with management(api_key=key, url=wanted.management_url, key_setting=KEY_SETTING) as client:
        with context.terminal.waiting("Reading RunPod's catalog"):
            return Account(
                gpus=await client.gpus(1, None),
                cpus=await client.cpus(VCPUS) if wanted.cpu_image else (),
                endpoints=await client.endpoints(),
                quota=await client.worker_quota(),
            )


def _decided(context: Context, account: Account) -> Proposal:
    """What is proposed; other pools if the person names some."""
    wanted, progress = context.given.wanted, context.progress
    wish = Wish(memory_gb=wanted.memory_gb, gpu=wanted.gpu, cpu=wanted.cpu_image is not None)

    def mark(name: str) -> str:
        return mark_of(f"{progress.owner.lower()}/{PREFIX}", name)

    found = propose(wish, account, mark)
    if found.problem:
        raise ConfigError(f"--gpu: {found.problem}" if wish.gpu else f"--gpu-memory: {found.problem}")
    _show(context, fitting(pools(account.gpus), wish.memory_gb))
    if wish.gpu or not context.terminal.interactive:
        return found
    chosen = ", ".join(found.endpoints[0].gpu)
    typed = context.terminal.ask(f"GPU pools, the preferred one first (Enter for {chosen})", "--gpu: missing")
    if not typed:
        return found
    again = propose(Wish(memory_gb=wish.memory_gb, gpu=pools_in(typed, "GPU pools"), cpu=wish.cpu), account, mark)
    if again.problem:
        raise ConfigError(f"GPU pools: {again.problem}")
    return again


def _show(context: Context, listed: tuple[Pool, ...]) -> None:
    say = context.terminal.say
    say(f"GPU pools with at least {context.given.wanted.memory_gb} GB, cheapest first:")
    for pool in listed:
        say(f"  {pool.id:<16} {pool.memory_gb or 0:>4g} GB  {_price(pool):<24} stock {pool.stock.level}")


def _price(pool: Pool) -> str:
    if not pool.stock.price:
        return "price unknown"
    low, high = pool.stock.price
    return f"${high:.2f} an hour" if low == high else f"${low:.2f} to ${high:.2f} an hour"


def _new(context: Context, endpoint: ProposedEndpoint) -> NewEndpoint:
    wanted = context.given.wanted
    return NewEndpoint(
        name=endpoint.name,
        label="cpu" if endpoint.cpu else "gpu",
        image=(wanted.cpu_image or "") if endpoint.cpu else _image(context),
        gpu=endpoint.gpu,
        flavor=endpoint.cpu.flavor if endpoint.cpu else "",
        vcpus=endpoint.cpu.vcpus if endpoint.cpu else 0,
        workers_max=endpoint.workers_max,
    )


def _image(context: Context) -> str:
    missing = "--image: missing; give the name of the worker's image (docs/image.md), or use --no-endpoints"
    if context.given.wanted.image:
        return context.given.wanted.image
    typed = context.terminal.ask("Image of the GPU workers, such as ghcr.io/acme/worker:1-gpu (docs/image.md)", missing)
    if not typed:
        raise ConfigError(missing)
    return str(checked(Image, typed, "image"))
