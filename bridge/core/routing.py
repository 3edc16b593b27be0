"""Which route serves a job, or why none does. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bridge.core.actions import SkipKind
from bridge.core.model import WorkflowJob
from bridge.core.scope import IMPLIED_LABELS, Route, Scope


@dataclass(frozen=True, kw_only=True)
class Unmatched:
    """Why no route serves a job.

    Args:
        kind: of the reason.
        reason: one line for a person.
        nearest: the route that lacks the fewest of its labels; None if no route has any of them.
    """

    kind: SkipKind
    reason: str
    nearest: str | None = None


def match(labels: Iterable[str], repository: str, routes: Sequence[Route]) -> Route | Unmatched:
    """Find the most specific route whose runners GitHub would give the job to.

    Args:
        labels: the job's `runs-on`.
        repository: owner/name.
        routes: of several that are equally specific, the first is chosen.

    A runner is eligible if it has all labels of the job, in upper or lower case:
    https://docs.github.com/actions/how-tos/manage-runners/self-hosted-runners/use-in-a-workflow
    https://docs.github.com/actions/how-tos/manage-runners/self-hosted-runners/apply-labels#creating-a-custom-label
    """
    wanted = frozenset(label.lower() for label in labels)
    allowed = _allowed(repository, routes)
    if not allowed:
        return Unmatched(kind=SkipKind.REPOSITORY, reason=f"no route serves the repository {repository}")
    if not wanted:
        return next((r for r in allowed if r.unlabelled), _no_labels())
    serving = [r for r in allowed if wanted <= r.label_set and (r.generic_jobs or wanted & r.labels)]
    if not serving and wanted <= frozenset(IMPLIED_LABELS):
        return _generic(allowed)
    if serving:
        return min(serving, key=lambda r: len(r.labels))
    return _nearest(wanted, allowed)


def contained(routes: Sequence[Route]) -> list[tuple[Route, Route]]:
    """Find pairs of routes where the second has all labels of the first, and more.

    GitHub may give jobs of the first route to runners of the second, which may be more expensive.
    """
    return [(small, large) for small in routes for large in routes if small.labels < large.labels]


def is_served(job: WorkflowJob, scope: Scope) -> bool:
    """Whether a job may be for a runner of ours, or runs on one."""
    if not _is_in_scope(job, scope):
        return False
    ours = job.runner_name is not None and job.runner_name.startswith(f"{scope.prefix}-")
    return ours or isinstance(match(job.labels, job.repository, scope.routes), Route)


def is_kept(job: WorkflowJob, scope: Scope) -> bool:
    """Whether the ledger keeps a job: if it is served, or asks for a label of a route that could serve its repository.

    A job of the second kind may have a misspelt label, so it is shown with its reason. No runner is requested for it,
    and it is not looked up. Jobs from every source (webhooks, the delivery log, scans) are kept by this rule alone.
    """
    return is_served(job, scope) or (_is_in_scope(job, scope) and _asks_for_a_route(job, scope.routes))


def _is_in_scope(job: WorkflowJob, scope: Scope) -> bool:
    if job.repository.partition("/")[0].lower() != scope.owner.lower():
        return False
    return not scope.repositories or job.repository.lower() in {name.lower() for name in scope.repositories}


def _asks_for_a_route(job: WorkflowJob, routes: Iterable[Route]) -> bool:
    """Whether it asks for at least one of a route's own labels; `runs-on: "gpu, linux"` is one label by mistake."""
    asked = {part.strip().lower() for label in job.labels for part in label.split(",")}
    return any(asked & route.labels for route in _allowed(job.repository, routes))


def _allowed(repository: str, routes: Iterable[Route]) -> list[Route]:
    return [r for r in routes if not r.repositories or repository.lower() in r.repositories]


def _generic(routes: Sequence[Route]) -> Unmatched:
    """Any self-hosted runner may serve such a job, and most organizations have cheaper ones."""
    nearest = min(routes, key=lambda r: len(r.labels))
    own = _quoted(nearest.labels)
    return Unmatched(
        kind=SkipKind.GENERIC,
        reason="it asks only for labels that every runner has; "
        f"add a label of a route, such as {own}, or set `generic_jobs = true` on a route",
        nearest=nearest.name,
    )


def _no_labels() -> Unmatched:
    reason = "it names a runner group and no labels, and no route sets `unlabelled = true`"
    return Unmatched(kind=SkipKind.UNLABELLED, reason=reason)


def _nearest(wanted: frozenset[str], routes: Sequence[Route]) -> Unmatched:
    nearest = min(routes, key=lambda r: (len(wanted - r.label_set), len(r.labels)))
    missing = wanted - nearest.label_set
    if not wanted & nearest.labels:
        reason = f"no route has any of the labels {_quoted(missing)}"
        return Unmatched(kind=_kind(missing, SkipKind.NO_ROUTE), reason=reason)
    reason = f"route {nearest.name} lacks {_quoted(missing)}"
    return Unmatched(kind=_kind(missing, SkipKind.LABELS), reason=reason, nearest=nearest.name)


def _kind(missing: Iterable[str], otherwise: SkipKind) -> SkipKind:
    return SkipKind.COMMA if any("," in label for label in missing) else otherwise


def _quoted(labels: Iterable[str]) -> str:
    """Quote labels, and explain a label with a comma: `runs-on: "gpu, linux"` is one label, not two."""
    named = sorted(labels)
    quoted = ", ".join(f'"{label}"' for label in named)
    with_comma = next((label for label in named if "," in label), None)
    if not with_comma:
        return quoted
    several = ", ".join(part.strip() for part in with_comma.split(",") if part.strip())
    return f'{quoted}; "{with_comma}" is one label with a comma in it: write runs-on: [{several}]'
