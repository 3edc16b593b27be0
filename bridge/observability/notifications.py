"""Sends messages for people to a Slack webhook, or to a service that takes the same.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/
"""

import asyncio

import httpx

from bridge import __version__
from bridge.errors import Rejected, Unavailable

TIMEOUT = 10.0
"""s for one message, from the connection to the first part of the answer."""

_GONE = frozenset({401, 403, 404, 410})
"""Statuses that Slack gives for a webhook that was removed or disabled."""


class Notifications:
    """Sends messages. No error names the address, which is a secret.

    Args:
        url: of the webhook.
        timeout: s for one message.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self._url = url
        self._timeout = timeout
        headers = {"User-Agent": f"runpod-actions-bridge/{__version__}", "Accept-Encoding": "identity"}
        self._http = httpx.AsyncClient(timeout=timeout, headers=headers)

    async def send(self, text: str) -> None:
        """Send one message.

        Args:
            text: in Slack's format.

        Raises:
            Rejected: the service refused it; it will refuse the next one, too.
            Unavailable: the service could not be reached, or failed. It may have the message if its answer was lost.
        """
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream("POST", self._url, json={"text": text}) as response,
            ):
                _check(response)
                await _refuse_page(response)
        except TimeoutError:
            raise Unavailable(f"notifications: no answer within {self._timeout:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"notifications: the service could not be reached: {type(error).__name__}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _check(response: httpx.Response) -> None:
    """Refuse an answer other than success."""
    status = response.status_code
    if status in _GONE:
        raise Rejected(
            f"notifications: answered {status}: create a new webhook, and set BRIDGE_NOTIFY_URL to it", status=status
        )
    if status == 429 or status >= 500:
        raise Unavailable(f"notifications: answered {status}")
    if not response.is_success:
        raise Rejected(f"notifications: answered {status}; check BRIDGE_NOTIFY_URL", status=status)


async def _refuse_page(response: httpx.Response) -> None:
    """Refuse a web page, such as that of a proxy. Its type tells nothing: Slack's `ok` is text/html, too."""
    async for part in response.aiter_raw():
        if part.lstrip()[:1] == b"<":
            raise Rejected(
                "notifications: answered with a web page; check BRIDGE_NOTIFY_URL", status=response.status_code
            )
        return
