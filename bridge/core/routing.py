"""Which route serves a job, if any, and why not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.core.scope import IMPLIED_LABELS, Route


@dataclass(frozen=True, kw_only=True)
class Unmatched:
    """No route serves the job.

    Args:
        reason: one line for a person.
        nearest: the route that lacks the fewest of its labels, None if none shares any.
    """

    reason: str
    nearest: str | None = None


def match(labels: Iterable[str], repository: str, routes: Sequence[Route]) -> Route | Unmatched:
    """Find the most specific route whose runners GitHub would give the job to.

    Args:
        labels: the job's `runs-on`.
        repository: owner/name.
        routes: in order of preference among the equally specific.

    A runner is eligible when it holds all labels of the job, compared without case:
    https://docs.github.com/actions/how-tos/manage-runners/self-hosted-runners/use-in-a-workflow
    """
    wanted = frozenset(label.lower() for label in labels)
    open_to_it = [r for r in routes if not r.repositories or repository.lower() in r.repositories]
    if not open_to_it:
        return Unmatched(reason=f"no route serves the repository {repository}")
    if not wanted:
        return next((r for r in open_to_it if r.unlabelled), _no_labels())
    serving = [r for r in open_to_it if wanted <= r.label_set and (r.generic_jobs or wanted & r.labels)]
    if not serving and wanted <= frozenset(IMPLIED_LABELS):
        return _generic(open_to_it)
    if serving:
        return min(serving, key=lambda r: len(r.labels))
    return _nearest(wanted, open_to_it)


def contained(routes: Sequence[Route]) -> list[tuple[Route, Route]]:
    """Pairs of routes of which the second has all labels of the first, and more.

    GitHub may give the first route's jobs to the second one's runners, which may be more expensive.
    """
    return [(small, large) for small in routes for large in routes if small.labels < large.labels]


def _generic(routes: Sequence[Route]) -> Unmatched:
    """Any self-hosted runner may serve such a job, and most organisations have others that cost less."""
    nearest = min(routes, key=lambda r: len(r.labels))
    own = _listed(nearest.labels)
    return Unmatched(
        reason=f"it asks for no label of a route's own, such as {own}; `generic_jobs = true` on a route allows that",
        nearest=nearest.name,
    )


def _no_labels() -> Unmatched:
    return Unmatched(reason="the job names a runner group and no labels; no route sets `unlabelled = true`")


def _nearest(wanted: frozenset[str], routes: Sequence[Route]) -> Unmatched:
    nearest = min(routes, key=lambda r: (len(wanted - r.label_set), len(r.labels)))
    missing = wanted - nearest.label_set
    if missing == wanted - frozenset(IMPLIED_LABELS) and not wanted & nearest.labels:
        return Unmatched(reason=f"no route has any of the labels {_listed(missing)}")
    return Unmatched(reason=f"route {nearest.name} lacks {_listed(missing)}", nearest=nearest.name)


def _listed(labels: Iterable[str]) -> str:
    """Labels in quotes, and why one with a comma is not several: `runs-on: "gpu, linux"` is one label."""
    named = sorted(labels)
    listed = ", ".join(f'"{label}"' for label in named)
    with_comma = next((label for label in named if "," in label), None)
    if not with_comma:
        return listed
    several = ", ".join(part.strip() for part in with_comma.split(",") if part.strip())
    return f'{listed}; "{with_comma}" is one label with a comma in it: write runs-on: [{several}]'
