"""A repository's workflows become the jobs that GitHub would queue; act evaluates their expressions."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.filters import triggers
from bridge.emulator.job_variants import WorkflowError
from bridge.emulator.jobs import JobResult, JobSpec, Strategy
from bridge.emulator.workflows import runs_of, top_level
from tests.support.runners import commit_all, git

Commit = Callable[..., Path]
STEPS = [{"run": "true"}]
SUCCESS, FAILURE = JobResult(conclusion="success"), JobResult(conclusion="failure")
SKIPPED, CANCELLED = JobResult(conclusion="skipped"), JobResult(conclusion="cancelled")


@pytest.fixture
def commit(tmp_path: Path) -> Commit:
    """Make a repository called web with these workflows: their text, or the jobs of a push workflow."""

    def make(**workflows: Any) -> Path:
        root = tmp_path / "web"
        folder = root / ".github" / "workflows"
        folder.mkdir(parents=True)
        for name, workflow in workflows.items():
            text = (
                workflow
                if isinstance(workflow, str)
                else json.dumps({"on": "push", "jobs": workflow}, ensure_ascii=False)
            )
            (folder / f"{name}.yml").write_text(text)
        commit_all(root)
        return root

    return make


def jobs_of(root: Path) -> dict[str, JobSpec]:
    (run,) = runs_of(root)
    return {job.key: job for job in run.jobs}


def names(root: Path) -> list[str]:
    (run,) = runs_of(root)
    return [job.name for job in run.jobs]


def the_job(root: Path) -> JobSpec:
    (job,) = jobs_of(root).values()
    return job


def sent(job: JobSpec, needs: Mapping[str, JobResult] | None = None) -> Any:
    """The job in the message that its runner gets."""
    message: Any = job.message(needs or {})
    return message["workflow"]["jobs"][message["job"]]


# --- runs ---


def test_each_workflow_that_the_event_triggers_is_a_run_of_the_commit(commit: Commit) -> None:
    job = "jobs: {a: {runs-on: gpu, steps: [{run: make}]}}"
    root = commit(
        ci=f"name: CI\non: push\n{job}",
        manual=f"on: [workflow_dispatch]\n{job}",
        both=f"on: {{push: , pull_request: }}\n{job}",
    )
    (root / ".github" / "workflows" / "later.yml").write_text(f"on: push\n{job}")
    runs = runs_of(root)
    sha = git(root, "rev-parse", "HEAD").strip()
    assert [(run.workflow, run.path) for run in runs] == [
        (".github/workflows/both.yml", ".github/workflows/both.yml"),
        ("CI", ".github/workflows/ci.yml"),
    ]
    assert {(run.sha, run.branch, run.event) for run in runs} == {(sha, "main", "push")}
    assert [run.path for run in runs_of(root, "workflow_dispatch")] == [".github/workflows/manual.yml"]


@pytest.mark.parametrize(
    ("push", "branch", "triggered"),
    [
        (None, "any", True),
        ({"branches": ["main"]}, "main", True),
        ({"branches": "main"}, "mainline", False),
        ({"branches": ["release/*"]}, "release/1", True),
        ({"branches": ["release/*"]}, "release/1/2", False),
        ({"branches": ["release/**"]}, "release/1/2", True),
        ({"branches": ["v1.x"]}, "v1-x", False),
        ({"branches": ["**", "!docs"]}, "docs", False),
        ({"branches-ignore": ["docs"]}, "docs", False),
        ({"branches-ignore": ["docs"]}, "main", True),
        ({"tags": ["v*"]}, "main", False),
        ({"tags": ["v*"], "branches": ["main"]}, "main", True),
        ({"paths": ["src/**"]}, "main", True),
    ],
)
def test_branch_filters_of_a_push_are_respected(push: Any, branch: str, triggered: bool) -> None:
    assert triggers({"push": push}, "push", branch, lambda: ["src/deep/a.py"]) is triggered


def test_a_repository_without_workflows_has_no_runs(tmp_path: Path) -> None:
    commit_all(tmp_path)
    assert runs_of(tmp_path) == ()


def test_a_folder_that_is_not_a_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=tmp_path.name):
        runs_of(tmp_path)


def test_a_repository_without_commits_is_named_in_one_line(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(WorkflowError, match=rf"\A{tmp_path}: the repository has no commit\Z"):
        runs_of(tmp_path)


def test_a_detached_commit_has_runs(commit: Commit) -> None:
    root = commit(ci={"a": {"runs-on": "x", "steps": STEPS}})
    git(root, "checkout", "--quiet", "--detach")
    (run,) = runs_of(root)
    assert run.branch == "detached"
    message = the_job(root).message({})
    assert message is not None
    assert message["ref"] == "refs/heads/detached"


def test_a_folder_in_a_repository_stands_for_the_repository(commit: Commit, tmp_path: Path) -> None:
    root = commit(ci={"a": {"runs-on": "x", "steps": STEPS}})
    assert top_level(root / ".github") == root
    git(tmp_path, "clone", "--quiet", "--bare", str(root), "bare")
    assert top_level(tmp_path / "bare") == tmp_path / "bare"
    assert names(tmp_path / "bare") == names(root / ".github") == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "on: push\njobs: [",
        "on: push",
        "- a",
        "on: push\njobs: {a: {needs: b, runs-on: x, steps: []}}",
        "on: push\njobs: {a: {needs: b, runs-on: x}, b: {needs: a, runs-on: x}}",
        "on: push\nenv:\njobs: {a: {runs-on: x, steps: []}}",
        "on: push\ndefaults:\njobs: {a: {runs-on: x, steps: []}}",
        "on: push\ndefaults: {run: }\njobs: {a: {runs-on: x, steps: []}}",
        "on: push\njobs: {}",
        "on: push\njobs: {1: {runs-on: x, steps: []}}",
        "on: push\njobs: {a: }",
        "on: push\njobs: {a: text}",
        "on: push\njobs: {a: {steps: []}}",
        "on: push\njobs: {a: {runs-on: x, env: , steps: []}}",
        "on: push\njobs: {a: {runs-on: x, steps: }}",
        "on: push\njobs: {a: {runs-on: x, steps: [x]}}",
        "on: push\njobs: {a: {runs-on: x, steps: [{uses: actions/checkout@v4, with: x}]}}",
        "on: push\njobs: {a: {runs-on: x, strategy: x, steps: []}}",
        "on: push\njobs: {a: {runs-on: x, strategy: {matrix: }, steps: []}}",
        "on: push\njobs: {a: {runs-on: x, strategy: {max-parallel: '2'}, steps: []}}",
        "on: push\njobs: {a: {runs-on: x, strategy: {max-parallel: 0}, steps: []}}",
        "on: push\njobs: {a: {runs-on: x, needs: , steps: []}}",
        "on: push\njobs: {a: {runs-on: x, needs: [[a]], steps: []}}",
        "on: {push: text}\njobs: {a: {runs-on: x, steps: []}}",
        "on: {push: {branches: [1]}}\njobs: {a: {runs-on: x, steps: []}}",
        'on: {push: {branches: ["release/["]}}\njobs: {a: {runs-on: x, steps: []}}',
        "on: push\njobs: {a: {runs-on: x, if: nonsense(, steps: []}}",
    ],
)
def test_a_workflow_that_github_would_reject_is_named_in_one_line(commit: Commit, text: str) -> None:
    root = commit(broken=text, fine="on: push\njobs: {a: {runs-on: x, steps: []}}")
    broken, fine = runs_of(root)
    assert (broken.path, broken.jobs, len(fine.jobs)) == (".github/workflows/broken.yml", (), 1)
    assert re.fullmatch(".+", str(broken.unsupported))


def test_a_workflow_that_is_not_utf_8_is_named(commit: Commit) -> None:
    root = commit(broken="on: push")
    (root / ".github" / "workflows" / "broken.yml").write_bytes("on: push # é".encode("latin-1"))
    commit_all(root)
    (run,) = runs_of(root)
    assert run.unsupported == "the file is not UTF-8"


def test_empty_mappings_are_accepted(commit: Commit) -> None:
    job = "{runs-on: x, env: {}, defaults: {}, strategy: {}, outputs: {}, needs: [], steps: []}"
    assert the_job(commit(ci=f"on: {{push: {{}}}}\nenv: {{}}\ndefaults: {{}}\njobs: {{a: {job}}}")).unsupported is None


def test_yaml_is_parsed_as_github_parses_it(commit: Commit) -> None:
    root = commit(
        ci="on: push\njobs: {a: {runs-on: x, env: {A: yes, B: 2024-01-02, C: 1:30, D: true, E: 0x10}, steps: []}}"
    )
    assert sent(the_job(root))["env"] == {"A": "yes", "B": "2024-01-02", "C": "1:30", "D": True, "E": 16}


@pytest.mark.parametrize("text", ["", "# on: push\n", "---\n"])
def test_a_file_with_nothing_but_comments_is_no_workflow(commit: Commit, text: str) -> None:
    assert runs_of(commit(empty=text)) == ()


@pytest.mark.parametrize("push", ["{tags: }", "{branches: }", "{paths: }", "{branches: , tags-ignore: }"])
def test_a_filter_without_a_value_is_no_filter(commit: Commit, push: str) -> None:
    (run,) = runs_of(commit(ci=f"on: {{push: {push}}}\njobs: {{a: {{runs-on: x, steps: []}}}}"))
    assert run.unsupported is None
    assert len(run.jobs) == 1


@pytest.mark.parametrize(
    ("filters", "triggered"),
    [
        ({"paths": ["src/**"]}, True),
        ({"paths": ["docs/**"]}, False),
        ({"paths": ["**", "!src/**"]}, False),
        ({"paths-ignore": ["src/**"]}, False),
        ({"paths-ignore": ["docs/**"]}, True),
        ({"paths": ["src/**"], "branches": ["other"]}, False),
    ],
)
def test_a_push_of_the_last_commit_is_filtered_by_the_paths_that_it_changed(
    commit: Commit, filters: Mapping[str, object], triggered: bool
) -> None:
    root = commit(ci=json.dumps({"on": {"push": filters}, "jobs": {"a": {"runs-on": "x", "steps": STEPS}}}))
    (root / "src").mkdir()
    (root / "src" / "naïve file.py").write_text("x")
    commit_all(root)
    assert bool(runs_of(root)) is triggered


def test_a_merge_changes_what_differs_from_its_first_parent(commit: Commit) -> None:
    root = commit(ci="on: {push: {paths: [side]}}\njobs: {a: {runs-on: x, steps: []}}")
    git(root, "checkout", "--quiet", "-b", "side")
    (root / "side").write_text("x")
    commit_all(root)
    git(root, "checkout", "--quiet", "main")
    (root / "own").write_text("x")
    commit_all(root)
    assert runs_of(root) == ()
    git(root, "-c", "user.name=t", "-c", "user.email=t@example.org", "merge", "--quiet", "--no-ff", "side")
    assert len(runs_of(root)) == 1


def test_filters_that_the_demo_cannot_apply_are_named(commit: Commit) -> None:
    on = "{pull_request: {types: [closed], branches: [release], paths: [x]}, push: {branches: [other]}}"
    root = commit(ci=f"on: {on}\njobs: {{a: {{runs-on: x, steps: []}}}}")
    (run,) = runs_of(root, "pull_request")
    assert run.not_applied == ("pull_request.types", "pull_request.branches", "pull_request.paths")
    assert runs_of(root) == ()


@pytest.mark.parametrize("key", ["strategy", "env"])
def test_a_strategy_or_env_may_be_an_expression(commit: Commit, key: str) -> None:
    values = {"strategy": {"matrix": {"v": [1, 2]}, "max-parallel": 1}, "env": {"v": "${{ github.sha }}"}}
    expression = f"${{{{ fromJSON('{json.dumps(values[key])}') }}}}".replace("${{ github.sha }}", "$\\u007b{ x }}")
    jobs = jobs_of(commit(ci={"a": {"runs-on": "x", key: expression, "steps": STEPS}}))
    if key == "strategy":
        assert [job.name for job in jobs.values()] == ["a (1)", "a (2)"]
        assert jobs["a/1"].strategy == Strategy(job_id="a", max_parallel=1)
    else:
        assert sent(jobs["a"])["env"] == {"v": "${{ '${{' }} x }}"}, "a value is not evaluated again"


# --- names and labels ---


@pytest.mark.parametrize(
    ("runs_on", "labels"),
    [
        ("gpu", ("gpu",)),
        (["self-hosted", "gpu"], ("self-hosted", "gpu")),
        ({"group": "big", "labels": ["a", "b"]}, ("a", "b")),
        ({"group": "big", "labels": "a"}, ("a",)),
        ({"group": "big"}, ()),
        ('${{ fromJSON(\'["a", "b"]\') }}', ("a", "b")),
        (["x", "${{ github.ref_name }}-${{ github.event_name }}"], ("x", "main-push")),
        ('${{ fromJSON(\'{"group": "g", "labels": ["a"]}\') }}', ("a",)),
    ],
)
def test_runs_on_is_read_in_all_its_forms(commit: Commit, runs_on: object, labels: tuple[str, ...]) -> None:
    assert the_job(commit(ci={"a": {"runs-on": runs_on, "steps": STEPS}})).labels == labels


def test_a_matrix_is_expanded_in_order_with_githubs_names(commit: Commit) -> None:
    matrix = {
        "py": ["3.10", 3.12],
        "os": ["linux", "mac"],
        "exclude": [{"py": 3.12, "os": "mac"}],
        "include": [{"py": "3.10", "os": "mac", "fast": True}, {"py": 9, "os": "bsd"}],
    }
    job = {"runs-on": ["gpu", "${{ matrix.os }}"], "strategy": {"matrix": matrix}, "steps": STEPS}
    jobs = jobs_of(commit(ci={"build": job}))
    assert {job.name: job.labels for job in jobs.values()} == {
        "build (3.10, linux)": ("gpu", "linux"),
        "build (3.10, mac)": ("gpu", "mac"),
        "build (3.12, linux)": ("gpu", "linux"),
        "build (9, bsd)": ("gpu", "bsd"),
    }
    assert list(jobs) == ["build/1", "build/2", "build/3", "build/4"]


def test_a_name_with_expressions_gets_no_matrix_values(commit: Commit) -> None:
    job = {"name": "Py ${{ matrix.v }} of ${{ github.ref_name }}", "strategy": {"matrix": {"v": [1, 2]}}}
    assert names(commit(ci={"a": {**job, "runs-on": "x", "steps": STEPS}})) == ["Py 1 of main", "Py 2 of main"]


def test_a_name_without_expressions_gets_the_matrix_values(commit: Commit) -> None:
    job = {"name": "Tests", "strategy": {"matrix": {"v": [{"a": 1, "b": [2]}, None]}}}
    assert names(commit(ci={"a": {**job, "runs-on": "x", "steps": STEPS}})) == ["Tests (1, 2)", "Tests"]


def test_a_dynamic_matrix_is_evaluated(commit: Commit) -> None:
    matrix = '${{ fromJSON(format(\'{{"v": ["{0}", 2]}}\', github.ref_name)) }}'
    job = {"runs-on": "x", "strategy": {"matrix": matrix}, "steps": STEPS}
    assert names(commit(ci={"a": job})) == ["a (main)", "a (2)"]


HOSTILE = 'it\'s "q" $(touch /tmp/x) `id` }} \n::error::x \\ é \N{ROCKET}'


def test_special_characters_in_values_are_kept(commit: Commit) -> None:
    value = f"{HOSTILE} ${{{{ '${{{{' }}}} github.sha }}}}"
    job = {
        "name": "${{ matrix.v }}",
        "runs-on": ["${{ matrix.v }}"],
        "strategy": {"matrix": {"v": [value]}},
        "steps": STEPS,
    }
    made = the_job(commit(ci={"a": job}))
    plain = f"{HOSTILE} ${{{{ github.sha }}}}"
    assert made.name == plain.replace("\n", " "), "a name has one line"
    assert made.labels == (plain,)
    assert sent(made)["strategy"] == {"matrix": {"include": [{"v": value}]}}


def test_a_long_name_is_cut_as_github_cuts_it(commit: Commit) -> None:
    job = {"runs-on": "x", "strategy": {"matrix": {"v": ["y" * 200]}}, "steps": STEPS}
    (name,) = names(commit(ci={"a": job}))
    assert len(name) == 100
    assert name.endswith("y...")


# --- jobs that cannot run here ---


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ({"container": "debian"}, "container"),
        ({"concurrency": "x"}, "concurrency group"),
        ({"timeout-minutes": "${{ 'long' }}"}, "timeout-minutes is not a number"),
        ({"steps": [{"run": "echo ${{ strategy.job-index }}"}]}, "it uses strategy.job-index"),
        ({"services": {"db": {"image": "postgres"}}}, "service containers"),
        ({"steps": [{"uses": "actions/setup-python@v5"}]}, r"uses actions/setup-python@v5"),
        ({"steps": [{"uses": "actions/checkout@v4", "with": {"repository": "o/r"}}]}, "checks out something other"),
        ({"strategy": {"matrix": {"v": []}}}, "matrix is empty"),
        ({"strategy": {"matrix": "${{ fromJSON('nope') }}"}}, "Invalid JSON"),
        ({"name": "${{ fromJSON('nope') }}"}, "cannot be evaluated"),
    ],
)
def test_a_job_that_cannot_run_here_has_a_reason(commit: Commit, job: Mapping[str, object], reason: str) -> None:
    made = the_job(commit(ci={"a": {"runs-on": "x", "steps": STEPS, **job}}))
    assert made.unsupported is not None
    assert reason in made.unsupported


def test_a_job_that_depends_on_outputs_or_on_a_job_that_cannot_run_cannot_run_either(commit: Commit) -> None:
    root = commit(
        ci={
            "a": {"runs-on": "x", "container": "y", "steps": STEPS},
            "b": {"runs-on": "x", "needs": "a", "steps": STEPS},
            "c": {"runs-on": "x", "steps": STEPS},
            "d": {"runs-on": "${{ needs.c.outputs.l }}", "needs": ["c"], "steps": STEPS},
        }
    )
    reasons = {key: job.unsupported for key, job in jobs_of(root).items()}
    assert reasons["b"] == "it needs 'a', which cannot run here"
    assert reasons["c"] is None
    assert "outputs of another job" in str(reasons["d"])


# --- the message to the runner ---


def test_a_job_needs_every_variant_of_a_matrix_and_gets_one_combined_result(commit: Commit) -> None:
    root = commit(
        ci={
            "a": {"runs-on": "x", "strategy": {"matrix": {"v": [1, 2]}}, "steps": STEPS},
            "b": {"runs-on": "x", "needs": "a", "if": "always()", "steps": STEPS},
        }
    )
    job = jobs_of(root)["b"]
    assert job.needs == ("a/1", "a/2")
    message: Any = job.message({"a/1": FAILURE, "a/2": JobResult(conclusion="success", outputs={"v": "2"})})
    assert message["workflow"]["jobs"]["a"]["outputs"] == {"v": "2"}
    assert message["workflow"]["jobs"]["a"]["steps"] == [{"run": "exit 1"}]


def test_settings_of_the_whole_workflow_reach_the_job(commit: Commit) -> None:
    root = commit(
        ci="""
        on: push
        env: {A: 1, B: 2}
        defaults: {run: {shell: sh, working-directory: src}}
        jobs: {a: {runs-on: gpu, env: {B: 3}, defaults: {run: {shell: bash}}, timeout-minutes: 1, steps: []}}
        """
    )
    job = sent(the_job(root))
    assert job["env"] == {"A": 1, "B": 3}
    assert job["defaults"] == {"run": {"shell": "bash", "working-directory": "src"}}
    assert job["runs-on"] == "self-hosted"
    assert "timeout-minutes" not in job, "the runner enforces the timeout"


def test_settings_that_github_itself_handles_are_in_the_jobs(commit: Commit) -> None:
    job = {"runs-on": {"group": "big", "labels": "x"}, "timeout-minutes": 5, "continue-on-error": True, "steps": STEPS}
    risky = "${{ matrix.v == 2 }}"
    strategy = {"matrix": {"v": [1, 2]}, "max-parallel": 1, "fail-fast": False}
    matrix = {**job, "continue-on-error": risky, "timeout-minutes": "${{ matrix.v }}", "strategy": strategy}
    one, first, second = jobs_of(commit(ci={"one": job, "m": matrix})).values()
    assert (one.group, one.timeout, one.tolerated, one.strategy) == ("big", 5, True, None)
    assert [(each.timeout, each.tolerated) for each in (first, second)] == [(1, False), (2, True)]
    assert first.strategy == second.strategy == Strategy(job_id="m", max_parallel=1, fail_fast=False)


def test_a_matrix_of_more_than_256_jobs_is_refused(commit: Commit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.emulator.job_variants.MAX_MATRIX", 2)
    job = {"runs-on": "x", "strategy": {"matrix": {"v": [1, 2, 3]}}, "steps": STEPS}
    (run,) = runs_of(commit(ci={"a": job}))
    assert run.unsupported == "job a: the matrix has 3 jobs; the limit is 2"


def test_a_dispatched_workflow_gets_the_defaults_of_its_inputs(commit: Commit) -> None:
    inputs = "{inputs: {size: {default: small}, deep: {type: boolean, default: true}}}"
    name = "${{ inputs.size }}-${{ inputs.deep }}"
    concurrency = "${{ github.workflow }}-${{ inputs.size }}"
    root = commit(
        ci=f"""
        name: W
        on: {{workflow_dispatch: {inputs}}}
        concurrency: {{group: "{concurrency}", cancel-in-progress: true}}
        jobs: {{a: {{name: "{name}", runs-on: x, if: inputs.deep, steps: []}}, b: {{runs-on: x, if: "!inputs.deep"}}}}
        """
    )
    (run,) = runs_of(root, "workflow_dispatch")
    a, b = run.jobs
    assert (run.concurrency, a.name, b.message({})) == ("W-small", "small-true", None)
    message: Any = a.message({})
    assert message["workflow"]["on"]["workflow_dispatch"]["inputs"]["size"] == {"default": "small"}


@pytest.mark.parametrize(
    ("condition", "a", "runs"),
    [
        (None, SUCCESS, True),
        (None, FAILURE, False),
        (None, SKIPPED, False),
        (None, CANCELLED, False),
        (False, SUCCESS, False),
        ("always()", FAILURE, True),
        ("always()", CANCELLED, True),
        ("failure()", FAILURE, True),
        ("failure()", CANCELLED, False),
        ("failure()", SUCCESS, False),
        ("!cancelled()", SKIPPED, True),
        ("success() || needs.a.result == 'skipped'", SKIPPED, True),
        ("github.ref == 'refs/heads/main'", SUCCESS, True),
        ("github.ref == 'refs/heads/main'", FAILURE, False),
        ("github.event_name != 'push'", SUCCESS, False),
        ("${{ github.repository == 'owner/web' }}", SUCCESS, True),
    ],
)
def test_a_condition_decides_whether_the_job_is_queued(
    commit: Commit, condition: object, a: JobResult, runs: bool
) -> None:
    given = {} if condition is None else {"if": condition}
    root = commit(
        ci={
            "a": {"runs-on": "x", "steps": STEPS},
            "b": {"runs-on": "x", "needs": "a", "steps": STEPS, **given},
        }
    )
    assert (jobs_of(root)["b"].message({"a": a}) is not None) is runs


@pytest.mark.parametrize(
    ("condition", "a", "b", "runs"),
    [
        (None, FAILURE, SUCCESS, False),
        (None, SKIPPED, SUCCESS, False),
        ("success()", FAILURE, SUCCESS, False),
        ("failure()", FAILURE, SKIPPED, True),
        ("failure()", SUCCESS, SUCCESS, False),
        ("always() && needs.a.result == ''", FAILURE, SUCCESS, True),
    ],
)
def test_a_condition_considers_indirectly_needed_jobs(
    commit: Commit, condition: object, a: JobResult, b: JobResult, runs: bool
) -> None:
    job = {"runs-on": "x", "steps": STEPS}
    given = {} if condition is None else {"if": condition}
    root = commit(ci={"a": job, "b": {**job, "needs": "a", "if": "always()"}, "c": {**job, "needs": ["b"], **given}})
    assert (jobs_of(root)["c"].message({"a": a, "b": b}) is not None) is runs


def test_a_condition_is_evaluated_once_for_a_whole_matrix(commit: Commit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def holds(condition: object, *_: object) -> bool:
        asked.append(condition)
        return True

    monkeypatch.setattr("bridge.emulator.workflow_jobs.holds", holds)
    matrix = {"runs-on": "x", "strategy": {"matrix": {"v": [1, 2, 3]}}, "steps": STEPS}
    root = commit(ci={"a": {**matrix, "if": "1 == 1"}, "b": {**matrix, "needs": "a", "if": "2 == 2"}})
    jobs = jobs_of(root)
    assert asked == ["1 == 1"], "before the emulator serves"
    results = {key: SUCCESS for key in jobs if key.startswith("a/")}
    assert all(job.message(results) for job in jobs.values())
    assert asked == ["1 == 1", "2 == 2"]


def test_a_condition_gets_outputs_unchanged(commit: Commit) -> None:
    condition = "startsWith(needs.a.outputs.v, 'it''s') && endsWith(needs.a.outputs.v, '{ github.sha }}')"
    root = commit(
        ci={
            "a": {"runs-on": "x", "steps": STEPS},
            "b": {"runs-on": "x", "needs": "a", "if": condition, "steps": STEPS},
        }
    )
    job = jobs_of(root)["b"]
    assert job.message({"a": JobResult(conclusion="success", outputs={"v": f"{HOSTILE} ${{{{ github.sha }}}}"})})
    assert not job.message({"a": JobResult(conclusion="success", outputs={"v": HOSTILE})})


def test_a_condition_that_cannot_be_evaluated_fails_its_job(commit: Commit) -> None:
    condition = "fromJSON(needs.a.outputs.v).x"
    root = commit(
        ci={
            "a": {"runs-on": "x", "steps": STEPS},
            "b": {"runs-on": "x", "needs": "a", "if": condition, "steps": STEPS},
        }
    )
    assert sent(jobs_of(root)["b"], {"a": SUCCESS})["if"] == condition


def test_evaluating_leaves_nothing_behind(commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = commit(ci={"a": {"runs-on": "x", "if": "true", "strategy": {"matrix": {"v": [1]}}, "steps": STEPS}})
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    for folder in (home, temporary):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert the_job(root).message({})
    assert [*home.iterdir(), *temporary.iterdir()] == []
