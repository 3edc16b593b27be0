"""Calls to other services, each bounded in time. A call that fails is a value, so that the other checks go on."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from bridge.commands.doctor.check import Check, failed
from bridge.errors import BridgeError

WITHIN = 12.0
"""s for a call and its retries. At most four calls follow each other, so the checks take less than a minute."""

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """A call that failed.

    Args:
        line: what happened; after a semicolon, what to do.
        request_id: the service's id of the request; None if it gave none.
    """

    line: str
    request_id: str | None = None


async def asked(call: Awaitable[T], within: float = WITHIN) -> T | Failure:
    """The result of a call, or why there is none.

    Args:
        call: may raise BridgeError.
        within: s.
    """
    try:
        async with asyncio.timeout(within):
            return await call
    except BridgeError as error:
        return Failure(error.message, error.request_id)
    except TimeoutError:
        return Failure(f"no answer within {within:g} s; check the network and the proxy")


def unanswered(id_: str, failure: Failure, *, subject: str | None = None) -> Check:
    """The check of a call that failed."""
    what, _, fix = failure.line.partition("; ")
    evidence = f"{what} (request {failure.request_id})" if failure.request_id else what
    return failed(id_, evidence, fix or "correct it, and run `bridge doctor` again", subject=subject)
