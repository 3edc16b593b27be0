"""Turns what was read into HTML. Every text is cleaned and escaped: names of jobs, branches and labels are hostile."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bridge.core.model import JobStatus
from bridge.core.steps import span
from bridge.dashboard.content import Content
from bridge.dashboard.queries import Group, Query
from bridge.telemetry import plain

LONGEST = 400
"""Characters of a text that are shown. GitHub's names are shorter; RunPod's errors may not be."""

NOTHING = {
    Group.QUEUED: "No job waits.",
    Group.STARTING: "No runner is starting.",
    Group.RUNNING: "No job runs.",
    Group.FINISHED: "No job has ended in the last 24 hours.",
}

ASSETS = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""The files that the pages load, and their media types."""

_BAD = frozenset({"failure", "timed_out", "startup_failure", "action_required"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Fragment:
    """The content of a page.

    Args:
        title: of the page.
        html: within `<main>`.
        digest: equal if the content is equal.
        can_retry: whether it is the page of a job that can be retried.
    """

    title: str
    html: str
    digest: str
    can_retry: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Extras:
    """What the overview shows beside the ledger.

    Args:
        problems: what fails at present.
        rate_limits: the calls that are left of a rate limit, by service.
        stock: by endpoint id, what RunPod has in stock of its GPU types; one line.
    """

    problems: tuple[str, ...] = ()
    rate_limits: Mapping[str, int] | None = None
    stock: Mapping[str, str] = field(default_factory=dict)


class Pages:
    """Renders pages.

    Args:
        owner: of all repositories.
        web_url: GitHub's; only links that begin with it are shown.
    """

    def __init__(self, owner: str, web_url: str) -> None:
        self._owner = owner
        self._web_url = web_url
        self.assets = {name: files("bridge.dashboard").joinpath("static", name).read_bytes() for name in ASSETS}
        self.version = hashlib.sha256(b"".join(self.assets.values())).hexdigest()[:12]
        self._environment = Environment(
            loader=PackageLoader("bridge.dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_Cleaner(),
        )
        self._environment.filters |= _FILTERS
        for name in self._environment.list_templates(["html"]):
            self._environment.get_template(name)  # compiled now, so that the first visitor need not wait for it

    def fragment(self, query: Query, content: Content, extras: Extras) -> Fragment | None:
        """The content of the page that answers a query; None if the ledger does not know its job."""
        if query.job is None:
            return self._overview(query, content, extras)
        if query.job not in content.stories:
            return None
        record, story = content.stories[query.job]
        url = record.job.html_url or ""
        given = {
            "record": record,
            "story": story,
            "now": content.at,
            "tone": _tone(record.job.conclusion),
            "link": url if url.startswith(f"{self._web_url}/") else None,
        }
        return self._made(
            f"{_short(record.job.name)} · Actions bridge",
            "job.html",
            given,
            can_retry=record.job.status is not JobStatus.COMPLETED,
        )

    def _overview(self, query: Query, content: Content, extras: Extras) -> Fragment:
        summary = ", ".join(f"{content.totals[group]} {group}" for group in Group)
        given = {
            "query": query,
            "content": content,
            "now": content.at,
            "given_up": content.given_up,
            "listings": content.lists[query],
            "groups": list(Group),
            "nothing": NOTHING,
            "summary": summary,
            "problems": extras.problems,
            "rate_limits": extras.rate_limits or {},
            "stock": extras.stock,
            "costs": content.costs,
        }
        return self._made("Actions bridge", "overview.html", given)

    def _made(self, title: str, template: str, given: dict[str, Any], *, can_retry: bool = False) -> Fragment:
        html = self._environment.get_template(template).render(given)
        return Fragment(
            title=title, html=html, digest=hashlib.sha256(html.encode()).hexdigest()[:16], can_retry=can_retry
        )

    def document(
        self, fragment: Fragment, *, live: str | None, person: str | None, retry: tuple[str, str] | None = None
    ) -> str:
        """A whole page.

        Args:
            fragment: its content.
            live: the address of its updates; None if it has none.
            person: who is signed in; None for nobody.
            retry: the address and the token of the form that retries the job; None for no form.
        """
        return self._page(fragment.title, fragment.html, live=live, person=person, retry=retry)

    def login(self, *, github: bool, token: bool, problem: str | None) -> str:
        """The page on which a person signs in.

        Args:
            github: whether they can sign in with GitHub.
            token: whether they can sign in with a token.
            problem: why the last try failed.
        """
        given = {"github": github, "token": token, "problem": problem}
        return self._page("Sign in · Actions bridge", self._environment.get_template("login.html").render(given))

    def message(self, heading: str, text: str, *, home: bool = False) -> str:
        """A page that says one thing; with a link to the overview if `home`."""
        given = {"heading": heading, "text": text, "home": home}
        html = self._environment.get_template("message.html").render(given)
        return self._page(f"{heading} · Actions bridge", html)

    def _page(self, title: str, main: str, **given: Any) -> str:
        page = {"live": None, "person": None, "retry": None, **given, "title": title}
        page["main"] = Markup(main)  # noqa: S704 - rendered above
        base = self._environment.get_template("base.html")
        return base.render({**page, "owner": self._owner, "version": self.version})


class _Cleaner:
    """Cleans each text that is shown: no secrets, no control characters, none that change the direction of text.

    The same texts are shown again and again, so what was cleaned is kept.
    """

    def __init__(self) -> None:
        self._text = lru_cache(maxsize=8192)(lambda text: _short(plain(text)))

    def __call__(self, value: Any) -> Any:
        return self._text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clock(at: float, now: float) -> str:
    """The time of day; with the day if that is not today."""
    moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%m-%d %H:%M")


def _age(seconds: float) -> str:
    """A duration until now. It is coarse, so that a page does not change each second."""
    return span(seconds) if seconds >= 7_200 else f"{seconds / 60:.0f} min" if seconds >= 60 else "less than 1 min"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _thousands(number: int) -> str:
    return f"{number:,}"


def _workers(counts: Mapping[str, int]) -> str:
    """The workers of an endpoint that exist, by their state."""
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()) if count) or "none"


def _tone(conclusion: str | None) -> str:
    return "good" if conclusion == "success" else "bad" if conclusion in _BAD else "neutral"


_FILTERS: dict[str, Any] = {
    "iso": _iso,
    "clock": _clock,
    "age": _age,
    "span": span,
    "sentence": _sentence,
    "thousands": _thousands,
    "workers": _workers,
    "tone": _tone,
}
