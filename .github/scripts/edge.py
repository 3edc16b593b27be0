"""What the update scripts share: asking over HTTP, reading versions, telling the workflow, ending with one line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

Version = tuple[int, int, int]


class Refused(Exception):
    """An answer or a file that cannot be trusted. Nothing was changed; somebody has to look."""


def get_json(url: str, *, accept: str, token: str | None = None) -> object:
    """The JSON document of media type `accept` at `url`.

    Raises:
        Refused: no answer, a status other than 200, or not JSON. The body is never shown.
    """
    headers = {"Accept": accept, "User-Agent": "runpod-actions-bridge"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        answer = httpx.get(url, headers=headers, timeout=30)
    except httpx.HTTPError as error:
        raise Refused(f"{url}: no answer: {type(error).__name__}") from None
    if answer.status_code != 200:
        raise Refused(f"{url}: answered {answer.status_code}")
    try:
        document: object = answer.json()
    except ValueError:
        raise Refused(f"{url}: the answer is not JSON") from None
    return document


def text(version: Version) -> str:
    """The version as it is written."""
    return ".".join(str(part) for part in version)


def read(path: Path) -> str:
    """The file's text, its line ends as they are."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise Refused(f"{path}: no such file") from None


def write(path: Path, content: str) -> None:
    """Replace the file's text, line ends as given."""
    path.write_bytes(content.encode())


def tell(name: str, value: str) -> None:
    """Set a step output, where there is a workflow to hear it.

    https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands#setting-an-output-parameter
    """
    output = os.environ.get("GITHUB_OUTPUT")
    if output:
        with Path(output).open("a") as file:
            file.write(f"{name}={value}\n")


def run(main: Callable[[], None]) -> None:
    """Run `main`; a refusal becomes one line on stderr and exit status 1."""
    try:
        main()
    except Refused as refusal:
        sys.exit(f"refused: {refusal}")
