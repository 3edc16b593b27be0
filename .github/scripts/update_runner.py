"""Update the image to the newest actions/runner release and its SHA-256.

GitHub gives no jobs to a runner that is not updated within 30 days of a release:
https://docs.github.com/actions/reference/runners/self-hosted-runners#runner-software-updates-on-self-hosted-runners
Sets the step outputs `version` and `sha256` if something changed.
"""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge import Refused, Version, get_json, read, run, tell, text, write

_TAG = re.compile(r"v(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)
_SUM = re.compile(r"<!-- BEGIN SHA linux-x64 -->(.*?)<!-- END SHA linux-x64 -->", re.DOTALL)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_VERSION_LINE = re.compile(r"^(ARG RUNNER_VERSION=)(\d+)\.(\d+)\.(\d+)(\r?)$", re.ASCII | re.MULTILINE)
_SHA256_LINE = re.compile(r"^(ARG RUNNER_SHA256=)([0-9a-f]{64})(\r?)$", re.ASCII | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of actions/runner, and the SHA-256 (hexadecimal) of its linux-x64 tarball."""

    version: Version
    sha256: str


def newest(document: object) -> Release:
    """The newest release that is neither a draft nor a prerelease.

    Args:
        document: the decoded answer of https://docs.github.com/rest/releases/releases#list-releases

    Raises:
        Refused: the answer has another shape, or the release notes do not have exactly one valid SHA-256.
    """
    if not isinstance(document, list):
        raise Refused("GitHub's answer is not a list of releases")
    found = [(version, release) for release in document if (version := _final(release))]
    if not found:
        raise Refused("GitHub's answer has no final release")
    version, release = max(found, key=lambda pair: pair[0])
    return Release(version=version, sha256=_sha256(version, release.get("body")))


def _final(release: object) -> Version | None:
    if not isinstance(release, dict) or release.get("draft") is not False or release.get("prerelease") is not False:
        return None
    found = _TAG.fullmatch(str(release.get("tag_name")))
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _sha256(version: Version, notes: object) -> str:
    sums = _SUM.findall(notes) if isinstance(notes, str) else []
    if len(sums) != 1:
        raise Refused(f"the notes of runner {text(version)} have {len(sums)} checksums for linux-x64 instead of one")
    sha256: str = sums[0].strip()
    if not _SHA256.fullmatch(sha256):
        raise Refused(f"the notes of runner {text(version)} have a checksum for linux-x64 that is not a SHA-256")
    return sha256


def moved(content: str, release: Release) -> str | None:
    """The Dockerfile with `release` in its two ARG lines; None if it already has that version or a newer one.

    Raises:
        Refused: a line is missing or there more than once, or the checksum of the version in use has changed.
    """
    versions, sums = _VERSION_LINE.findall(content), _SHA256_LINE.findall(content)
    if len(versions) != 1 or len(sums) != 1:
        raise Refused("the Dockerfile must have ARG RUNNER_VERSION=X.Y.Z and ARG RUNNER_SHA256=<checksum> once each")
    pinned = tuple(int(part) for part in versions[0][1:4])
    if release.version == pinned and release.sha256 != sums[0][1]:
        raise Refused(f"the Dockerfile has another checksum for runner {text(release.version)} than its release notes")
    if release.version <= pinned:
        return None
    content = _VERSION_LINE.sub(rf"\g<1>{text(release.version)}\g<5>", content)
    return _SHA256_LINE.sub(rf"\g<1>{release.sha256}\g<3>", content)


def main() -> None:
    """Ask GitHub, and update the Dockerfile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dockerfile", type=Path, default=Path("Dockerfile"), help="Default: %(default)s")
    parser.add_argument("--api", default="https://api.github.com", help="GitHub's address. Default: %(default)s")
    arguments = parser.parse_args()
    content = read(arguments.dockerfile)
    releases = f"{arguments.api}/repos/actions/runner/releases?per_page=30"
    release = newest(get_json(releases, accept="application/vnd.github+json", token=os.environ.get("GITHUB_TOKEN")))
    changed = moved(content, release)
    if changed is None:
        print(f"newest is runner {text(release.version)}: nothing to change")
        return
    write(arguments.dockerfile, changed)
    print(f"{arguments.dockerfile}: runner {text(release.version)}, {release.sha256}")
    tell("version", text(release.version))
    tell("sha256", release.sha256)


if __name__ == "__main__":
    run(main)
