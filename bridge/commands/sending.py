"""Puts together what sends traces and messages.

Heavy imports stay within the function that needs them.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.config.settings import Config
    from bridge.config.tracing import Tracing
    from bridge.ledger import Ledger
    from bridge.observability.traces import Traces
    from bridge.service.sender import Channel, Sender, SenderTiming


@contextlib.asynccontextmanager
async def sending(
    settings: "Config", ledger: "Ledger", clock: Callable[[], float], timing: "SenderTiming | None" = None
) -> "AsyncIterator[Sender]":
    """What sends traces and messages, as configured. Its connections are closed at the end of the block.

    Args:
        settings: the configuration.
        ledger: open.
        clock: Unix seconds.
        timing: how long it waits; its clock is replaced. None for the defaults.

    Raises:
        ConfigError: traces are wanted, and their exporter is not installed.
    """
    from dataclasses import replace

    from bridge.service.sender import DEFAULT_TIMING, Sender

    timing = replace(timing or DEFAULT_TIMING, clock=clock)
    channels: list[Channel] = []
    async with contextlib.AsyncExitStack() as stack:
        if settings.tracing:
            from bridge.service.job_traces import JobTraces

            client = _exporter(settings.tracing)
            stack.callback(client.close)
            channels.append(JobTraces(ledger, client, with_jobs=settings.tracing.with_jobs, timing=timing))
        if settings.notify_url:
            from bridge.observability.notifications import Notifications
            from bridge.service.messages import Messages

            notifications = Notifications(settings.notify_url)
            stack.push_async_callback(notifications.close)
            channels.append(Messages(ledger, notifications, timing))
        yield Sender(channels, timing)


def _exporter(tracing: "Tracing") -> "Traces":
    """The collector's client.

    Raises:
        ConfigError: the extra is not installed.
    """
    from bridge.errors import ConfigError

    try:
        from bridge.observability.traces import Traces
    except ImportError:
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT: traces need the extra `otel`; "
            "install it with pip install 'runpod-actions-bridge[otel]', or unset the variable"
        ) from None
    return Traces(tracing.host, tracing.timeout)
