"""Which route serves a job, if any, and why not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.model import IMPLIED_LABELS, Route


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
    serving = [r for r in open_to_it if wanted <= r.label_set]
    if serving:
        return min(serving, key=lambda r: len(r.labels))
    return _nearest(wanted, open_to_it)


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
