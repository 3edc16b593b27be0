"""Which route serves a job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.actions import SkipKind
from bridge.core.routing import Unmatched, contained, match
from bridge.core.scope import Route
from tests.support.values import a_route

GPU = a_route(name="gpu", labels=("runpod", "gpu"))
BIG = a_route(name="big", labels=("runpod", "gpu", "a100"))
CPU = a_route(name="cpu", labels=("runpod", "cpu"))
ROUTES = (BIG, GPU, CPU)


@pytest.mark.parametrize(
    ("labels", "route"),
    [
        (("self-hosted", "runpod", "gpu"), "gpu"),
        (("RunPod", "GPU"), "gpu"),
        (("self-hosted", "Linux", "X64", "runpod", "gpu"), "gpu"),
        (("runpod", "a100"), "big"),
        (("runpod",), "gpu"),  # gpu and cpu are equally specific: the first wins
        (("cpu",), "cpu"),
    ],
)
def test_the_most_specific_route_with_all_labels_wins(labels: tuple[str, ...], route: str) -> None:
    found = match(labels, "acme/web", ROUTES)
    assert not isinstance(found, Unmatched)
    assert found.name == route


@pytest.mark.parametrize(
    ("labels", "nearest", "kind", "why"),
    [
        (("ubuntu-latest",), None, SkipKind.NO_ROUTE, 'no route has any of the labels "ubuntu-latest"'),
        (
            ("self-hosted", "Linux"),
            "gpu",
            SkipKind.GENERIC,
            'it asks only for labels that every runner has; add a label of a route, such as "gpu", "runpod", '
            "or set `generic_jobs = true` on a route",
        ),
        (("self-hosted", "tpu"), None, SkipKind.NO_ROUTE, 'no route has any of the labels "tpu"'),
        (("runpod", "gpu", "h100"), "gpu", SkipKind.LABELS, 'route gpu lacks "h100"'),
        (("runpod", "Big GPU", "h100"), "gpu", SkipKind.LABELS, 'route gpu lacks "big gpu", "h100"'),
        (
            ("runpod", "gpu, linux"),
            "gpu",
            SkipKind.COMMA,
            'route gpu lacks "gpu, linux"; "gpu, linux" is one label with a comma in it: write runs-on: [gpu, linux]',
        ),
        (
            ("runpod", "gpu,linux"),
            "gpu",
            SkipKind.COMMA,
            'route gpu lacks "gpu,linux"; "gpu,linux" is one label with a comma in it: write runs-on: [gpu, linux]',
        ),
        (("runpod", "windows", "cpu"), "cpu", SkipKind.LABELS, 'route cpu lacks "windows"'),
    ],
)
def test_an_unmatched_job_names_what_is_missing(
    labels: tuple[str, ...], nearest: str | None, kind: SkipKind, why: str
) -> None:
    assert match(labels, "acme/web", ROUTES) == Unmatched(kind=kind, reason=why, nearest=nearest)


def test_a_job_without_labels_needs_a_route_that_allows_it() -> None:
    assert match((), "acme/web", ROUTES) == Unmatched(
        kind=SkipKind.UNLABELLED,
        reason="it names a runner group and no labels, and no route sets `unlabelled = true`",
    )
    taker = a_route(name="group", unlabelled=True)
    assert match((), "acme/web", (*ROUTES, taker)) == taker


def test_a_route_for_some_repositories_serves_no_other() -> None:
    only = a_route(repositories=frozenset({"acme/web"}))
    assert match(("gpu",), "Acme/Web", (only,)) == only
    assert match(("gpu",), "acme/api", (only,)) == Unmatched(
        kind=SkipKind.REPOSITORY, reason="no route serves the repository acme/api"
    )


@pytest.mark.parametrize("labels", [("self-hosted",), ("self-hosted", "linux", "X64")])
def test_a_generic_job_goes_only_to_a_route_that_allows_it(labels: tuple[str, ...]) -> None:
    refused = match(labels, "acme/web", ROUTES)
    assert isinstance(refused, Unmatched)
    assert refused.reason.startswith("it asks only for labels that every runner has; ")
    generic = a_route(name="any", generic_jobs=True)
    assert match(labels, "acme/web", (*ROUTES, generic)) == generic


def test_routes_whose_runners_may_get_the_jobs_of_another_route_are_found() -> None:
    assert [(small.name, large.name) for small, large in contained(ROUTES)] == [("gpu", "big")]


LABELS = st.sampled_from(["self-hosted", "linux", "x64", "runpod", "gpu", "GPU", "cpu", "a100", "h100"])


@given(st.frozensets(LABELS), st.permutations(ROUTES))
def test_a_matched_route_has_every_label_and_no_smaller_route_does(labels: frozenset[str], routes: list[Route]) -> None:
    wanted = {label.lower() for label in labels}
    serving = [r for r in ROUTES if wanted <= r.label_set and wanted & r.labels]
    found = match(labels, "acme/web", routes)
    if isinstance(found, Unmatched):
        assert not serving
    else:
        assert found in serving
        assert len(found.labels) == min(len(r.labels) for r in serving)
