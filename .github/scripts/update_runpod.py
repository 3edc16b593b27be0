"""Update the pin `runpod~=X.Y.Z` if PyPI has a new major or minor version of the SDK.

Patch releases need no pull request: `~=` allows them, and the next `make lock` takes them.
Sets the step output `version` if something changed.
"""

import argparse
import re
from pathlib import Path

from edge import Refused, Version, get_json, read, run, tell, text, write

_FINAL = re.compile(
    r"runpod-(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})(?:\.(0|[1-9]\d{0,5}))?(?:-[\w.-]+\.whl|\.tar\.gz)", re.ASCII
)
_PIN = re.compile(r"(?<![\w.-])runpod~=(\d+)\.(\d+)\.(\d+)(?![\w.])", re.ASCII)


def newest(document: object) -> Version:
    """The newest final release that has a file to install.

    Args:
        document: the decoded answer of https://docs.pypi.org/api/index-api/#get-distributions-for-project
            (the list of releases in the older JSON API is deprecated)

    Raises:
        Refused: the answer has another shape, or no such release.
    """
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list):
        raise Refused("PyPI's answer has no list of files")
    versions = [version for file in files if (version := _final(file))]
    if not versions:
        raise Refused("PyPI's answer has no final release that is not yanked")
    return max(versions)


def _final(file: object) -> Version | None:
    if not isinstance(file, dict) or file.get("yanked", False) is not False:  # a string is the reason
        return None
    found = _FINAL.fullmatch(str(file.get("filename")))
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def pin(content: str) -> Version | None:
    """The version in the text's pin; None if there is no pin.

    Raises:
        Refused: more than one pin.
    """
    found = _PIN.findall(content)
    if len(found) > 1:
        raise Refused(f"runpod~=X.Y.Z is there {len(found)} times instead of once")
    return (int(found[0][0]), int(found[0][1]), int(found[0][2])) if found else None


def moved(content: str, version: Version) -> str | None:
    """The text with `version` in its pin; None if the pin's major.minor is not older, or there is no pin."""
    pinned = pin(content)
    if pinned is None or version[:2] <= pinned[:2]:
        return None
    return _PIN.sub(f"runpod~={text(version)}", content)


def main() -> None:
    """Ask PyPI, and update the pin in pyproject.toml and, if it has one, in the image's requirements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="the repository. Default: here")
    parser.add_argument("--pypi", default="https://pypi.org", help="PyPI's address. Default: %(default)s")
    arguments = parser.parse_args()
    project = arguments.root / "pyproject.toml"
    if pin(read(project)) is None:
        raise Refused(f"{project}: no runpod~=X.Y.Z to update")
    version = newest(get_json(f"{arguments.pypi}/simple/runpod/", accept="application/vnd.pypi.simple.v1+json"))
    files = [project, *sorted((arguments.root / "runner_image").glob("*.in"))]
    changes = {file: content for file in files if (content := moved(read(file), version)) is not None}
    for file, content in changes.items():
        write(file, content)
        print(f"{file}: runpod~={text(version)}")
    if changes:
        tell("version", text(version))
    else:
        print(f"newest is runpod {text(version)}: nothing to change")


if __name__ == "__main__":
    run(main)
