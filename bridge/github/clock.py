"""The time by GitHub's clock. This machine's clock may be minutes off, or be set back while the bridge runs.

Jobs, tokens, deliveries and what other copies of the bridge have stored are compared with it.
"""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import httpx

TOLERANCE = 2.0
"""s by which an answer may differ without a correction: GitHub's servers may not all show the same second."""

_SENT = "bridge.sent"


class GitHubClock:
    """Unix seconds by GitHub's clock, learned from the `Date` header of its answers; at first by this machine's clock.

    It advances with the monotonic clock, so a change of this machine's clock does not affect it.

    Args:
        wall: returns Unix seconds by this machine's clock.
        monotonic: returns seconds that never go back.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._learned = False
        self._doubt: float | None = None  # the offset that the last answer showed, if it differed

    def __call__(self) -> float:
        """Unix seconds."""
        return self._monotonic() + self._offset

    @property
    def learned(self) -> bool:
        """Whether GitHub has answered, so that this is its clock."""
        return self._learned

    async def on_request(self, request: httpx.Request) -> None:
        """Hook of the HTTP client: note when a request is sent."""
        request.extensions = {**request.extensions, _SENT: self._monotonic()}

    async def on_response(self, response: httpx.Response) -> None:
        """Hook of the HTTP client: learn from an answer. A cached answer has an older date and is ignored."""
        sent = response.request.extensions.get(_SENT)
        there = _date(response)
        if sent is not None and there is not None and "age" not in response.headers:
            self.learn(there, sent, self._monotonic())

    def learn(self, there: float, sent: float, received: float) -> None:
        """Correct the clock. After the first answer this takes two that agree, because one may be wrong.

        Args:
            there: GitHub's time in whole Unix seconds, from its answer.
            sent: s of the monotonic clock, when the request was sent.
            received: s of the monotonic clock, when the answer arrived.
        """
        earliest, latest = there - received, there + 1.0 - sent
        doubt, self._doubt = self._doubt, None
        if not earliest - TOLERANCE <= self._offset <= latest + TOLERANCE:
            agreed = doubt is not None and earliest - TOLERANCE <= doubt <= latest + TOLERANCE
            offset = (earliest + latest) / 2
            if agreed or not self._learned:
                self._offset = offset
            else:
                self._doubt = offset
        self._learned = True


def _date(response: httpx.Response) -> float | None:
    try:
        return parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        return None
