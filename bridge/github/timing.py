"""The clock of GitHub's client, and how long it waits."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GitHubTiming:
    """The clock of GitHub's client, and its waiting times in seconds.

    Args:
        clock: returns Unix seconds.
        sleep: waits for a number of seconds of that clock.
        jitter: returns a random number between two bounds.
        retry_wait: average wait before the first retry of a failed call. The second retry waits four times as long.
        token_waits: waits before the retries with a new token. For some seconds not all of GitHub's servers accept it:
            https://github.com/octokit/auth-app.js/issues/65
        token_is_new: age up to which a token counts as new.
        token_margin: a token is renewed this long before it expires; up to `token_jitter` earlier, at random.
        token_jitter: see `token_margin`.
        registration_margin: a registration token is shared only while it is valid for at least this long.
        longest_pause: the longest time that a paced call waits for its turn. If it must wait longer, it is not sent.
        unstated_limit: wait after a rate limit that states no time. It doubles with each such limit in a row.
        longest_limit: the longest wait that GitHub can ask for. It counts calls by the hour, so a longer wait is an
            error.
    """

    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[float, float], float] = random.uniform
    retry_wait: float = 0.2
    token_waits: tuple[float, ...] = (1.0, 2.0, 4.0)
    token_is_new: float = 10.0
    token_margin: float = 300.0
    token_jitter: float = 60.0
    registration_margin: float = 2700.0
    longest_pause: float = 65.0
    unstated_limit: float = 60.0
    longest_limit: float = 3600.0


DEFAULT_TIMING = GitHubTiming()
