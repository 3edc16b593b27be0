"""The part of GitHub that the bridge and the runner use: a model with state, served over loopback HTTP."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from bridge.emulator.faults import Faults
from bridge.emulator.faults_http import FaultLayer
from bridge.emulator.github.access import Access, App
from bridge.emulator.github.app_pages import AppPages
from bridge.emulator.github.app_registration import Registrations
from bridge.emulator.github.budget import Budget, Spending
from bridge.emulator.github.renames import Renames
from bridge.emulator.github.rest import PREFIX, Rest
from bridge.emulator.github.runner_protocol import runner_routes
from bridge.emulator.github.sign_in import SignIns
from bridge.emulator.github.state import GitHubState, Limits
from bridge.emulator.github.webhooks import Webhooks
from bridge.emulator.serving import NOT_EMULATED, serving

UNLIMITED = Budget()
"""No rate limits."""


class GitHubEmulator:
    """A GitHub with one App, installed on one owner. Created by `github_emulator`."""

    def __init__(self, state: GitHubState, app: App, budget: Budget) -> None:
        self.state = state
        self.app = app
        clock = lambda: state.clock()  # noqa: E731, PLW0108 - a test may replace the clock later
        self.access = Access(app, clock, state.limits.installation_token)
        self.faults = Faults()
        self.url = ""
        self.webhooks = Webhooks(state, app)
        self.spending = Spending(budget, state.clock)
        self._rest = Rest(state, self.access, lambda: self.url, self.spending, self.webhooks.log)
        self.registrations = Registrations(state, self.access)
        pages = AppPages(state, self.registrations, lambda: self.url, self.webhooks)
        self.sign_ins = SignIns(state, self.registrations, lambda: self.url)
        runners = runner_routes(state, lambda: self.url, PREFIX)
        routes = [*runners, *self._rest.routes(), *pages.routes(PREFIX), *self.sign_ins.routes(PREFIX), NOT_EMULATED]
        self.asgi = FaultLayer(Renames(Starlette(routes=routes), state, lambda: self.url), self.faults)

    @property
    def api_url(self) -> str:
        """The value for GITHUB_API_URL."""
        return self.url + PREFIX

    @property
    def calls(self) -> Counter[str]:
        """REST calls by method and path template."""
        return self._rest.calls

    @property
    def not_modified(self) -> int:
        """Calls answered 304."""
        return self._rest.not_modified


@asynccontextmanager
async def github_emulator(
    state: GitHubState, app: App, *, port: int = 0, budget: Budget = UNLIMITED
) -> AsyncIterator[GitHubEmulator]:
    """Serve `state` until the block ends.

    Args:
        state: the model; it may be changed while it is served.
        app: the installed App.
        port: 0 for a free one.
        budget: the rate limits.
    """
    emulator = GitHubEmulator(state, app, budget)
    async with serving(emulator.asgi, port) as url:
        emulator.url = url
        async with emulator.webhooks.sending(emulator.api_url):
            yield emulator


__all__ = ["UNLIMITED", "App", "Budget", "GitHubEmulator", "GitHubState", "Limits", "Webhooks", "github_emulator"]
