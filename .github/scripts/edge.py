"""What the scripts share: HTTP, versions, files, step outputs, and errors of one line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

Version = tuple[int, int, int]


class Refused(Exception):
    """An answer or a file cannot be trusted. Nothing was changed; a person must check it."""


def get_json(url: str, *, accept: str, token: str | None = None) -> object:
    """The JSON document of media type `accept` at `url`.

    Raises:
        Refused: no answer, a status other than 200, or not JSON. The error never shows the body.
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
    """The version as text, such as 1.2.3."""
    return ".".join(str(part) for part in version)


def read(path: Path) -> str:
    """The file's text, with its line ends."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise Refused(f"{path}: no such file") from None


def write(path: Path, content: str) -> None:
    """Replace the file's text, with the line ends in `content`."""
    path.write_bytes(content.encode())


def tell(name: str, value: str) -> None:
    """Set a step output, if a workflow runs this script.

    https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands#setting-an-output-parameter
    """
    output = os.environ.get("GITHUB_OUTPUT")
    if output:
        with Path(output).open("a") as file:
            file.write(f"{name}={value}\n")


def run(main: Callable[[], None]) -> None:
    """Run `main`. Refused becomes one line on stderr, and exit status 1."""
    try:
        main()
    except Refused as refusal:
        sys.exit(f"refused: {refusal}")
