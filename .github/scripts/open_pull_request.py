"""Open a pull request with what changed in the work tree: once per branch, however often it runs.

A pull request from this branch in any state ends it: what somebody closed is not asked again. A branch without one
(its creation was refused last time) gets it now. Pull requests opened with GITHUB_TOKEN start no workflow, so the
checks are started by hand:
https://docs.github.com/actions/how-tos/write-workflows/choose-when-workflows-run/trigger-a-workflow#triggering-a-workflow-from-a-workflow
"""

import argparse
import os
import subprocess

from edge import Refused, run

# https://github.com/actions/checkout#push-a-commit-using-the-built-in-token
_AUTHOR = (
    *("-c", "user.name=github-actions[bot]"),
    *("-c", "user.email=41898282+github-actions[bot]@users.noreply.github.com"),
)
# The token stays in this step's environment; nothing is written to git's configuration.
_CREDENTIALS = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")


def _said(*command: str) -> str:
    """What the command prints; its own words go to the log."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Refused(f"{command[0]} ended with status {done.returncode}")
    return done.stdout.strip()


def _asked_before(repository: str, branch: str) -> bool:
    owner = repository.split("/", maxsplit=1)[0]  # a fork's branch of the same name does not count
    pulls = f"repos/{repository}/pulls"
    query = ("-f", "state=all", "-f", f"head={owner}:{branch}")
    return _said("gh", "api", "--method", "GET", pulls, *query, "--jq", "length") != "0"


def _push(branch: str, title: str) -> None:
    _said("git", "switch", "--create", branch)
    _said("git", *_AUTHOR, "commit", "--all", "--message", title)
    _said("git", *_CREDENTIALS, "push", "origin", branch)


def main() -> None:
    """Commit, push and ask; or do nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branch", required=True)
    parser.add_argument("--title", required=True)
    parser.add_argument("--body", required=True)
    parser.add_argument("--check", default="ci.yml", help="the workflow to start on the branch. Default: %(default)s")
    arguments = parser.parse_args()
    branch, title = arguments.branch, arguments.title
    if _asked_before(os.environ["GITHUB_REPOSITORY"], branch):
        print(f"{branch} has had its pull request: nothing to do")
        return
    if not _said("git", *_CREDENTIALS, "ls-remote", "--heads", "origin", f"refs/heads/{branch}"):
        _push(branch, title)
    print(_said("gh", "pr", "create", "--head", branch, "--title", title, "--body", arguments.body))
    _said("gh", "workflow", "run", arguments.check, "--ref", branch)


if __name__ == "__main__":
    run(main)
