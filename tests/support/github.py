"""State for the GitHub emulator: one organisation with one repository, and runs of trivial jobs."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.emulator.github import App, GitHubState
from bridge.emulator.jobs import JobResult, JobSpec, RunSpec

GPU = ("self-hosted", "runpod", "gpu")


def a_spec(name: str = "build", labels: tuple[str, ...] = GPU, **given: Any) -> JobSpec:
    def message(_needs: Mapping[str, JobResult]) -> Mapping[str, object]:
        return {"workflow": {}, "job": name, "event": "push"}

    return JobSpec(**{"key": name, "name": name, "labels": labels, "message": message, **given})


def a_run(*jobs: JobSpec) -> RunSpec:
    return RunSpec(
        workflow="ci",
        path=".github/workflows/ci.yml",
        event="push",
        sha="a" * 40,
        branch="main",
        jobs=jobs or (a_spec(),),
    )


def a_github(**given: Any) -> GitHubState:
    state = GitHubState(**given)
    state.add_organisation("acme")
    state.add_repository("acme/web")
    return state


def an_app(**given: Any) -> App:
    """The App of the organisation acme. Making a key is slow, so all Apps share one."""
    return App(owner="acme", **{"key": _key(), **given})


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)
