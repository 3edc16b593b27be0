"""Open a pull request with the changes in the work tree, at most one for each branch.

If the branch has or had a pull request, even a closed one, nothing happens. If the branch exists without one, because
GitHub refused it last time, the pull request is opened now. A pull request that GITHUB_TOKEN opens starts no workflow,
so this script starts the checks:
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
# The token stays in the environment of this step. It is not written to git's configuration.
_CREDENTIALS = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")


def _output(*command: str) -> str:
    """The standard output of a command; its errors go to the log."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Refused(f"{command[0]} ended with status {done.returncode}")
    return done.stdout.strip()


def _had_pull_request(repository: str, branch: str) -> bool:
    owner = repository.split("/", maxsplit=1)[0]  # a branch of the same name in a fork does not count
    pulls = f"repos/{repository}/pulls"
    query = ("-f", "state=all", "-f", f"head={owner}:{branch}")
    return _output("gh", "api", "--method", "GET", pulls, *query, "--jq", "length") != "0"


def _push(branch: str, title: str) -> None:
    _output("git", "switch", "--create", branch)
    _output("git", *_AUTHOR, "commit", "--all", "--message", title)
    _output("git", *_CREDENTIALS, "push", "origin", branch)


def main() -> None:
    """Commit, push and open the pull request, unless there was one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branch", required=True)
    parser.add_argument("--title", required=True)
    parser.add_argument("--body", required=True)
    parser.add_argument("--check", default="ci.yml", help="the workflow to start on the branch. Default: %(default)s")
    arguments = parser.parse_args()
    branch, title = arguments.branch, arguments.title
    if _had_pull_request(os.environ["GITHUB_REPOSITORY"], branch):
        print(f"{branch} already has or had a pull request: nothing to do")
        return
    if not _output("git", *_CREDENTIALS, "ls-remote", "--heads", "origin", f"refs/heads/{branch}"):
        _push(branch, title)
    print(_output("gh", "pr", "create", "--head", branch, "--title", title, "--body", arguments.body))
    _output("gh", "workflow", "run", arguments.check, "--ref", branch)


if __name__ == "__main__":
    run(main)
