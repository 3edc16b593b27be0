"""Reusable workflows of the same repository are expanded as GitHub expands them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.jobs import JobResult, JobSpec
from bridge.emulator.workflows import runs_of
from tests.support.runners import commit_all

STEPS = [{"run": "true"}]
JOB = {"runs-on": "x", "steps": STEPS}
SUCCESS, FAILURE = JobResult(conclusion="success"), JobResult(conclusion="failure")
SKIPPED = JobResult(conclusion="skipped")


def jobs_of(tmp_path: Path, jobs: Mapping[str, object], **called: Mapping[str, object]) -> dict[str, JobSpec]:
    """The jobs of a push workflow in a repository that also has these reusable workflows."""
    folder = tmp_path / "web" / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "ci.yml").write_text(json.dumps({"on": "push", "jobs": jobs}))
    for name, workflow in called.items():
        (folder / f"{name}.yml").write_text(json.dumps({"on": "workflow_call", **workflow}))
    commit_all(tmp_path / "web")
    run = next(run for run in runs_of(tmp_path / "web") if run.path.endswith("/ci.yml"))
    assert run.unsupported is None
    return {job.key: job for job in run.jobs}


def call(file: str, **job: object) -> dict[str, object]:
    return {"uses": f"./.github/workflows/{file}.yml", **job}


def on(**interface: object) -> dict[str, object]:
    return {"workflow_call": interface}


def sent(job: JobSpec, results: Mapping[str, JobResult] | None = None) -> Any:
    message: Any = job.message(results or {})
    return message["workflow"]["jobs"][message["job"]]


def test_a_called_job_is_named_after_its_caller_and_has_its_own_labels(tmp_path: Path) -> None:
    inputs = {"size": {"type": "string", "required": True}, "fast": {"type": "boolean"}, "n": {"type": "number"}}
    job = {"name": "train ${{ inputs.size }}", "runs-on": ["gpu", "${{ inputs.size }}"], "env": {"A": 1}}
    steps = [{"if": "inputs.fast == false", "run": "echo ${{ inputs.n }}"}]
    jobs = jobs_of(
        tmp_path,
        {"a": call("x", **{"name": "All", "with": {"size": "${{ github.ref_name }}"}, "secrets": "inherit"})},
        x={"on": on(inputs=inputs), "env": {"B": 2}, "jobs": {"t": {**job, "steps": steps}, "u": JOB}},
    )
    assert {key: (job.name, job.labels) for key, job in jobs.items()} == {
        "a/t": ("All / train main", ("gpu", "main")),
        "a/u": ("All / u", ("x",)),
    }
    assert all(job.unsupported is None for job in jobs.values())
    message = sent(jobs["a/t"])
    values = """fromJSON('{"size": "main", "fast": false, "n": 0}')"""
    assert message["steps"] == [{"if": f"{values}.fast == false", "run": f"echo ${{{{ {values}.n }}}}"}]
    assert message["env"] == {"A": 1, "B": 2}


def test_each_combination_of_a_callers_matrix_is_a_call_of_its_own(tmp_path: Path) -> None:
    caller = call("x", strategy={"matrix": {"v": ["p", "q"]}}, **{"with": {"v": "${{ matrix.v }}"}})
    inner = {"runs-on": "${{ inputs.v }}", "strategy": {"matrix": {"n": [1, 2]}}, "steps": STEPS}
    jobs = jobs_of(tmp_path, {"a": caller}, x={"on": on(inputs={"v": {"type": "string"}}), "jobs": {"b": inner}})
    assert {key: (job.name, job.labels) for key, job in jobs.items()} == {
        "a/1/b/1": ("a (p) / b (1)", ("p",)),
        "a/1/b/2": ("a (p) / b (2)", ("p",)),
        "a/2/b/1": ("a (q) / b (1)", ("q",)),
        "a/2/b/2": ("a (q) / b (2)", ("q",)),
    }
    strategies = {job.strategy.job_id for job in jobs.values() if job.strategy}
    assert strategies == {"a/1/b", "a/2/b"}, "each call has a matrix of its own"


def test_needs_go_across_calls(tmp_path: Path) -> None:
    jobs = jobs_of(
        tmp_path,
        {"first": JOB, "a": call("x", needs="first"), "last": {**JOB, "needs": ["a"]}},
        x={"jobs": {"b": JOB, "c": {**JOB, "needs": "b"}}},
    )
    assert {key: job.needs for key, job in jobs.items()} == {
        "first": (),
        "a/b": ("first",),
        "a/c": ("a/b",),
        "last": ("a/b", "a/c"),
    }
    good = {"first": SUCCESS, "a/b": SUCCESS, "a/c": SUCCESS}
    assert jobs["a/b"].message(good)
    assert jobs["last"].message(good)
    assert jobs["last"].message({**good, "a/b": FAILURE, "a/c": SKIPPED}) is None
    assert jobs["a/b"].message({"first": FAILURE}) is None
    assert jobs["a/c"].message({"first": SUCCESS, "a/b": FAILURE}) is None


def test_a_callers_condition_skips_all_its_jobs(tmp_path: Path) -> None:
    jobs = jobs_of(
        tmp_path,
        {"a": call("x", **{"if": "github.ref == 'refs/heads/other'"}), "b": {**JOB, "needs": "a", "if": "always()"}},
        x={"jobs": {"c": {**JOB, "if": "always()"}}},
    )
    assert jobs["a/c"].message({}) is None
    assert sent(jobs["b"], {"a/c": SKIPPED})


def test_a_condition_in_a_called_workflow_sees_only_that_workflow(tmp_path: Path) -> None:
    jobs = jobs_of(
        tmp_path,
        {"first": JOB, "a": call("x", needs="first", **{"if": "failure()"})},
        x={"jobs": {"b": JOB, "c": {**JOB, "if": "failure()"}}},
    )
    assert jobs["a/b"].message({"first": FAILURE})
    assert jobs["a/c"].message({"first": FAILURE}) is None


def test_outputs_of_a_called_workflow_reach_the_jobs_that_need_it(tmp_path: Path) -> None:
    outputs = {"v": {"value": "${{ jobs.b.outputs.v }}-${{ jobs.b.result }}"}, "flag": {"value": "${{ 1 == 1 }}"}}
    jobs = jobs_of(
        tmp_path,
        {"a": call("x"), "last": {**JOB, "needs": "a"}},
        x={"on": on(outputs=outputs), "jobs": {"b": {**JOB, "outputs": {"v": "${{ steps.s.outputs.v }}"}}}},
    )
    message: Any = jobs["last"].message({"a/b": JobResult(conclusion="success", outputs={"v": "it's"})})
    assert message["workflow"]["jobs"]["a"]["outputs"] == {"v": "it's-success", "flag": "true"}


def test_a_call_within_a_call_is_expanded(tmp_path: Path) -> None:
    inputs = on(inputs={"v": {"type": "string", "default": "none"}})
    jobs = jobs_of(
        tmp_path,
        {"a": call("x", **{"with": {"v": "deep"}})},
        x={"on": inputs, "jobs": {"b": call("y", **{"with": {"v": "${{ inputs.v }}"}})}},
        y={"on": inputs, "jobs": {"c": {**JOB, "runs-on": "${{ inputs.v }}"}}},
    )
    assert {key: (job.name, job.labels) for key, job in jobs.items()} == {"a/b/c": ("a / b / c", ("deep",))}


@pytest.mark.parametrize("levels", [10, 11])
def test_ten_levels_of_workflows_may_be_connected(tmp_path: Path, levels: int) -> None:
    called = {f"w{n}": {"jobs": {"a": call(f"w{n + 1}") if n + 1 < levels else JOB}} for n in range(1, levels)}
    (job,) = jobs_of(tmp_path, {"a": call("w1")}, **called).values()
    why = "it calls ./.github/workflows/w10.yml: more than 10 levels of workflows"
    assert job.unsupported == (None if levels == 10 else why)


@pytest.mark.parametrize(
    ("caller", "called", "reason"),
    [
        ({"uses": "o/r/.github/workflows/x.yml@v1"}, {}, "o/r/.github/workflows/x.yml@v1, which is not in this repo"),
        (call("gone"), {}, "it calls ./.github/workflows/gone.yml: there is no such file"),
        (call("x"), {"on": "push"}, "x.yml: it has no workflow_call trigger"),
        (call("x"), {"jobs": {}}, "x.yml: the workflow has no jobs"),
        (call("x"), {"jobs": {"b": call("x")}}, "x.yml: the workflow calls itself"),
        (call("x"), {"concurrency": "c"}, "x.yml: it has a concurrency group"),
        (call("x", **{"with": {"v": 1}}), {}, "x.yml: it has no input v"),
        (call("x"), {"on": on(inputs={"v": {"type": "string", "required": True}})}, "x.yml: its input v is missing"),
        (call("x"), {"on": on(inputs={"v": {"type": "string", "default": "${{ fromJSON('x') }}"}})}, "Invalid JSON"),
        (call("x"), {"jobs": {"b": {**JOB, "container": "y"}}}, "it runs in a container"),
    ],
)
def test_a_call_that_cannot_be_expanded_has_a_reason_and_refuses_no_other_job(
    tmp_path: Path, caller: Mapping[str, object], called: Mapping[str, object], reason: str
) -> None:
    jobs = jobs_of(tmp_path, {"a": caller, "n": {**JOB, "needs": "a"}, "z": JOB}, x={"jobs": {"b": JOB}, **called})
    first, *_ = jobs.values()
    assert reason in str(first.unsupported)
    assert jobs["n"].unsupported == "it needs 'a', which cannot run here"
    assert jobs["z"].unsupported is None


def test_the_jobs_of_a_call_that_waits_for_an_unsupported_job_are_still_listed_with_their_labels(
    tmp_path: Path,
) -> None:
    first = {**JOB, "container": "y"}
    jobs = jobs_of(tmp_path, {"first": first, "a": call("x", needs="first")}, x={"jobs": {"b": JOB}})
    assert (jobs["a/b"].labels, jobs["a/b"].unsupported) == (("x",), "it needs 'first', which cannot run here")
