"""The pull request of an update: opened once, with one commit and its checks, and not again after it was closed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.automation.scripts import Ran, run

GH = """#!{python}
'''gh, as far as the script uses it: pull requests kept in a file, filtered by head as GitHub does.'''
import json, os, pathlib, sys
file = pathlib.Path(os.environ["GH_STATE"])
state = json.loads(file.read_text())
words = sys.argv[1:]
def option(name): return words[words.index(name) + 1]
if words[:2] == ["pr", "create"]:
    if state["creation"] == "refused":
        sys.exit("GitHub Actions is not permitted to create or approve pull requests")
    pull = {{"head": "acme:" + option("--head"), "title": option("--title"), "body": option("--body"), "state": "open"}}
    state["pulls"].append(pull)
    print("https://github.com/acme/bridge/pull/1")
elif words[:4] == ["api", "--method", "GET", "repos/acme/bridge/pulls"]:
    wanted = dict(word.split("=", 1) for word in words if "=" in word)
    found = [p for p in state["pulls"] if p["head"] == wanted["head"] and wanted["state"] in ("all", p["state"])]
    assert option("--jq") == "length"
    print(len(found))
elif words[:2] == ["workflow", "run"]:
    state["runs"].append([words[2], option("--ref")])
else:
    sys.exit(f"gh: not known here: {{words}}")
file.write_text(json.dumps(state))
"""


class Checkout:
    """A clone with an update in its work tree, its origin, and a stand-in for `gh` with GitHub's state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.origin, self.work, self.state = path / "origin.git", path / "work", path / "github.json"
        (path / "bin").mkdir()
        (path / "bin" / "gh").write_text(GH.format(python=sys.executable))
        (path / "bin" / "gh").chmod(0o755)
        self.tell(pulls=[], runs=[], creation="allowed")
        self.git("init", "--quiet", "--bare", "--initial-branch", "main", str(self.origin), cwd=path)
        self.fresh()
        (self.work / "Dockerfile").write_text("ARG RUNNER_VERSION=2.337.0\n")
        self.git("add", "Dockerfile")
        self.commit("First", "main")

    def fresh(self) -> None:
        """Check out again, as each run does."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.git("clone", "--quiet", str(self.origin), str(self.work), cwd=self.path)

    def commit(self, message: str, branch: str) -> None:
        """Commit and push as a person with write access."""
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        self.git(*identity, "commit", "--quiet", "--allow-empty", "--message", message)
        self.git("push", "--quiet", "origin", f"HEAD:{branch}")

    def tell(self, **state: Any) -> None:
        self.state.write_text(json.dumps((json.loads(self.state.read_text()) if self.state.exists() else {}) | state))

    def github(self) -> Any:
        return json.loads(self.state.read_text())

    def git(self, *words: str, cwd: Path | None = None) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.path), "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", *words]
        done = subprocess.run(
            command, cwd=cwd or self.work, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()

    def asked(self, title: str = "Runner 2.338.0") -> Ran:
        """The run of one day: check out, update, open the pull request."""
        self.fresh()
        (self.work / "Dockerfile").write_text("ARG RUNNER_VERSION=2.338.0\n")
        words = ("--branch", "update/runner-2.338.0", "--title", title, "--body", "Notes")
        path = f"{self.path / 'bin'}:{os.environ['PATH']}"
        surroundings = {
            "PATH": path,
            "HOME": str(self.path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GH_STATE": str(self.state),
            "GITHUB_REPOSITORY": "acme/bridge",
        }
        return run("open_pull_request.py", *words, outputs=self.work / "outputs", **surroundings)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


BRANCH = "update/runner-2.338.0"


def test_an_update_becomes_one_commit_one_pull_request_and_one_run_of_the_checks(checkout: Checkout) -> None:
    ran = checkout.asked()
    assert ran.status == 0, ran.err
    assert checkout.git("diff", "--stat", "--name-only", "origin/main", f"origin/{BRANCH}") == "Dockerfile"
    log = checkout.git("log", "--format=%an: %s", f"origin/main..origin/{BRANCH}")
    assert log == "github-actions[bot]: Runner 2.338.0"
    expected = {"head": f"acme:{BRANCH}", "title": "Runner 2.338.0", "body": "Notes", "state": "open"}
    assert checkout.github()["pulls"] == [expected]
    assert checkout.github()["runs"] == [["ci.yml", BRANCH]]


def test_later_runs_change_nothing_once_there_is_a_pull_request(checkout: Checkout) -> None:
    checkout.asked()
    before, head = checkout.github(), checkout.git("rev-parse", f"origin/{BRANCH}")
    assert checkout.asked().status == 0
    assert checkout.github() == before
    assert checkout.git("rev-parse", f"origin/{BRANCH}") == head


def test_a_closed_pull_request_is_not_opened_again_even_if_its_branch_is_deleted(checkout: Checkout) -> None:
    checkout.tell(pulls=[{"head": f"acme:{BRANCH}", "title": "", "body": "", "state": "closed"}])
    before = checkout.github()
    assert checkout.asked().status == 0
    assert checkout.github() == before
    assert checkout.git("branch", "--remotes", "--list", f"origin/{BRANCH}") == ""


def test_a_forks_branch_of_the_same_name_does_not_stop_the_update(checkout: Checkout) -> None:
    checkout.tell(pulls=[{"head": f"mallory:{BRANCH}", "title": "", "body": "", "state": "open"}])
    assert checkout.asked().status == 0
    assert [pull["head"] for pull in checkout.github()["pulls"]] == [f"mallory:{BRANCH}", f"acme:{BRANCH}"]


def test_a_pull_request_that_github_refused_is_opened_later_without_changing_the_branch(
    checkout: Checkout,
) -> None:
    checkout.tell(creation="refused")
    ran = checkout.asked()
    assert ran.status == 1
    assert ran.err.endswith("refused: gh ended with status 1\n")
    assert "not permitted to create" in ran.err
    checkout.commit("Somebody's own", BRANCH)
    head = checkout.git("rev-parse", "HEAD")
    checkout.tell(creation="allowed")
    assert checkout.asked().status == 0
    assert checkout.git("rev-parse", f"origin/{BRANCH}") == head
    assert len(checkout.github()["pulls"]) == 1


def test_a_title_is_text_and_never_a_command(checkout: Checkout) -> None:
    title = "$(touch pwned) `touch pwned`; touch pwned"
    assert checkout.asked(title).status == 0
    assert checkout.github()["pulls"][0]["title"] == title
    assert not (checkout.work / "pwned").exists()
