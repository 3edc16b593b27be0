"""Repositories under their current names."""

from dataclasses import replace

import pytest

from bridge.core.model import Repository, WorkflowJob
from bridge.core.repositories import Names, configured, following, routed
from bridge.core.routing import is_kept, is_served
from bridge.core.scope import Scope
from tests.support.values import a_job, a_route

SCOPE = Scope(
    owner="acme",
    organisation=None,
    repositories=("acme/Web", "acme/docs"),
    routes=(a_route(repositories=frozenset({"acme/web"})), a_route(name="all")),
    prefix="runpod",
    web_url="https://github.example",
)


def a_repository(repository_id: int, name: str) -> Repository:
    return Repository(id=repository_id, full_name=name, public=False)


def test_a_renamed_repository_is_served_under_its_new_name() -> None:
    names = Names().learn({"acme/Web": a_repository(1, "acme/Site"), "acme/docs": a_repository(2, "Acme/docs")})
    assert following(SCOPE, names).repositories == ("acme/Site", "acme/docs")
    assert following(SCOPE, names).routes[0].repositories == {"acme/site"}
    assert following(SCOPE, names).routes[1] is SCOPE.routes[1]


def test_a_name_that_is_not_known_stays_as_it_is() -> None:
    assert Names().learn({"acme/web": a_repository(1, "acme/site")}).now("acme/other") == "acme/other"


def test_a_job_gets_the_current_name_of_its_repository() -> None:
    names = Names().learn({"acme/web": a_repository(1, "acme/site")})
    old, other = a_job(1, repository="acme/web"), a_job(2, repository="acme/docs")
    assert names.of_job(old) == replace(old, repository="acme/site")
    assert names.of_job(other) is other


def test_only_repositories_that_a_route_serves_are_read() -> None:
    single = replace(SCOPE, routes=(a_route(repositories=frozenset({"acme/web"})),))
    assert routed(["acme/Web", "acme/docs"], single) == ("acme/Web",)
    assert routed(["acme/Web", "acme/docs"], SCOPE) == ("acme/Web", "acme/docs")


def test_every_earlier_name_leads_to_the_current_one() -> None:
    first = Names().learn({"acme/web": a_repository(1, "acme/site")})
    second = first.learn({"acme/web": a_repository(1, "acme/portal")})
    assert first.renamed_since(Names()) == {"acme/web": "acme/site"}
    assert second.renamed_since(first) == {"acme/web": "acme/portal", "acme/site": "acme/portal"}
    assert second.renamed_since(second) == {}


def test_a_name_that_another_repository_has_taken_leads_to_that_one() -> None:
    renamed = Names().learn({"acme/web": a_repository(1, "acme/site")})
    taken = renamed.learn({"acme/web": a_repository(2, "acme/web")})
    assert taken.now("acme/web") == "acme/web"
    assert taken.now("acme/site") == "acme/site"


def test_repositories_with_an_unknown_id_are_not_the_same() -> None:
    found = {name: a_repository(0, name) for name in ("acme/web", "acme/docs")}
    names = Names().learn(found)
    assert (names.now("acme/web"), names.now("acme/docs")) == ("acme/web", "acme/docs")
    assert not names.renamed_since(Names())


def test_a_repository_that_exists_again_is_no_longer_gone() -> None:
    gone = Names().learn({"acme/Web": None})
    assert gone.gone == {"acme/web"}
    assert not gone.learn({"acme/web": a_repository(1, "acme/web")}).gone
    assert not gone.learn({"acme/old": a_repository(1, "acme/web")}).gone


def test_repositories_are_configured_for_the_bridge_and_for_single_routes() -> None:
    assert configured(SCOPE) == ("acme/web", "acme/docs")


@pytest.mark.parametrize(
    ("job", "served", "kept"),
    [
        (a_job(1), True, True),
        (a_job(1, labels=("ubuntu-latest",)), False, False),
        (a_job(1, labels=("self-hosted", "linux")), False, False),
        (a_job(1, labels=("ubuntu-latest",), runner_name="runpod-7-1"), True, True),
        (a_job(1, labels=("self-hosted", "RunPod", "gpuu")), False, True),
        (a_job(1, labels=("runpod, GPU",)), False, True),
        (a_job(1, labels=("other,gpu,more",)), False, True),
        (a_job(1, labels=("runpod", "gpuu"), repository="acme/other"), False, False),
        (a_job(1, repository="acme/other"), False, False),
        (a_job(1, repository="other/web"), False, False),
    ],
)
def test_jobs_are_kept_that_a_route_serves_that_our_runners_have_or_that_ask_for_a_routes_label(
    job: WorkflowJob, served: bool, kept: bool
) -> None:
    assert (is_served(job, SCOPE), is_kept(job, SCOPE)) == (served, kept)


def test_a_job_is_not_kept_for_a_label_of_a_route_that_does_not_serve_its_repository() -> None:
    scope = replace(SCOPE, repositories=(), routes=(a_route(repositories=frozenset({"acme/docs"})),))
    assert not is_kept(a_job(1, labels=("gpu", "other")), scope)
    assert is_kept(a_job(1, labels=("gpu", "other"), repository="acme/Docs"), scope)
