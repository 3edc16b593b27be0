"""The daily update of the runner: when it changes the image's two lines, and which answers it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.automation.scripts import OneAnswerServer, Ran, changed_lines, recorded, run
from tests.support import ROOT

BEFORE = (ROOT / "tests" / "automation" / "recorded" / "Dockerfile").read_text()
SUM_2_337 = "70920811a4f8ad4328818682bca5c6469c1c942fab52448868071d0063816613"
SUM_2_338 = "af4b794c1bc41d73d40535e3fe092a39f9679cd8d965954c2aca25a05ca41d32"


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    path = tmp_path / "Dockerfile"
    path.write_text(BEFORE)
    return path


def updated(dockerfile: Path, document: object, status: int = 200) -> Ran:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with OneAnswerServer(body, status).serving() as url:
        return run(
            "update_runner.py", "--dockerfile", dockerfile, "--api", url, outputs=dockerfile.with_name("outputs")
        )


def releases(change: Callable[[Any], object]) -> Any:
    """The recorded releases, with `change` applied to the newest."""
    document = recorded("actions-runner-releases.json")
    change(document[0])
    return document


def notes(old: str, new: str) -> Any:
    """The recorded releases, with other notes of the newest."""
    assert old in recorded("actions-runner-releases.json")[0]["body"]
    return releases(lambda release: release.update(body=release["body"].replace(old, new)))


def test_a_new_release_changes_only_the_version_and_its_checksum(dockerfile: Path) -> None:
    ran = updated(dockerfile, recorded("actions-runner-releases.json"))
    assert (ran.status, ran.outputs, ran.err) == (0, f"version=2.338.0\nsha256={SUM_2_338}\n", "")
    assert changed_lines(BEFORE, dockerfile.read_text()) == [
        ("ARG RUNNER_VERSION=2.337.0\n", "ARG RUNNER_VERSION=2.338.0\n"),
        (f"ARG RUNNER_SHA256={SUM_2_337}\n", f"ARG RUNNER_SHA256={SUM_2_338}\n"),
    ]


def test_line_ends_are_kept(dockerfile: Path) -> None:
    dockerfile.write_bytes(BEFORE.replace("\n", "\r\n").encode())
    updated(dockerfile, recorded("actions-runner-releases.json"))
    expected = BEFORE.replace("SION=2.337.0", "SION=2.338.0").replace(SUM_2_337, SUM_2_338)
    assert dockerfile.read_bytes() == expected.replace("\n", "\r\n").encode()


def test_the_newest_release_may_be_anywhere_in_the_list(dockerfile: Path) -> None:
    assert (
        updated(dockerfile, recorded("actions-runner-releases.json")[::-1]).outputs
        == f"version=2.338.0\nsha256={SUM_2_338}\n"
    )


@pytest.mark.parametrize(
    "change",
    [{"prerelease": True}, {"draft": True}, {"tag_name": "v2.338.0-rc1"}, {"tag_name": "v2.338.0\n"}],
    ids=["a prerelease", "a draft", "a candidate", "a tag with more behind it"],
)
def test_drafts_and_prereleases_are_ignored(dockerfile: Path, change: dict[str, Any]) -> None:
    ran = updated(dockerfile, releases(lambda release: release.update(change)))
    assert (ran.status, ran.outputs, ran.err) == (0, "", "")
    assert dockerfile.read_text() == BEFORE


def test_an_image_with_the_newest_version_or_a_newer_one_does_not_change(dockerfile: Path) -> None:
    for version, sha256 in (("2.338.0", SUM_2_338), ("2.1000.0", "0" * 64)):
        content = BEFORE.replace("SION=2.337.0", f"SION={version}").replace(SUM_2_337, sha256)
        dockerfile.write_text(content)
        ran = updated(dockerfile, recorded("actions-runner-releases.json"))
        assert (ran.status, ran.outputs, ran.err) == (0, "", "")
        assert dockerfile.read_text() == content


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param(notes("BEGIN SHA linux-x64 ", "BEGIN SHA "), "have 0 checksums for linux-x64", id="no sum"),
        pytest.param(releases(lambda r: r.update(body=None)), "have 0 checksums for linux-x64", id="no notes"),
        pytest.param(notes("linux-arm64 -->", "linux-x64 -->"), "have 2 checksums for linux-x64", id="two sums"),
        pytest.param(notes(SUM_2_338, SUM_2_338[:-1]), "not a SHA-256", id="a short sum"),
        pytest.param(notes(SUM_2_338, ""), "not a SHA-256", id="an empty sum"),
        pytest.param(notes(SUM_2_338, SUM_2_338 + "\nRUN id"), "not a SHA-256", id="a line behind the sum"),
        pytest.param(notes(SUM_2_338, SUM_2_338.replace("a", "٣")), "not a SHA-256", id="other digits"),
        pytest.param(b"<html>unicorn</html>", "is not JSON", id="HTML"),
        pytest.param(b"", "is not JSON", id="nothing"),
        pytest.param(b"\xff\xfe{", "is not JSON", id="not text"),
        pytest.param({"message": "Not Found"}, "not a list of releases", id="a message"),
        pytest.param([], "no final release", id="no release"),
        pytest.param([1, None, {"tag_name": 7}], "no final release", id="another shape"),
    ],
)
def test_an_answer_that_cannot_be_trusted_is_refused_in_one_line(dockerfile: Path, document: Any, says: str) -> None:
    ran = updated(dockerfile, document)
    assert (ran.status, ran.outputs) == (1, "")
    assert says in ran.err
    assert ran.err.startswith("refused: ")
    assert ran.err.count("\n") == 1
    assert dockerfile.read_text() == BEFORE


def test_a_rate_limit_is_refused_and_its_body_is_not_shown(dockerfile: Path) -> None:
    ran = updated(dockerfile, {"message": "API rate limit exceeded for 192.0.2.1"}, status=403)
    assert (ran.status, ran.outputs) == (1, "")
    assert "answered 403" in ran.err
    assert "192.0.2.1" not in ran.err


def test_a_changed_checksum_of_the_version_in_use_is_reported(dockerfile: Path) -> None:
    content = BEFORE.replace("SION=2.337.0", "SION=2.338.0")  # with 2.337.0's sum
    dockerfile.write_text(content)
    ran = updated(dockerfile, recorded("actions-runner-releases.json"))
    assert (ran.status, ran.outputs) == (1, "")
    assert "another checksum for runner 2.338.0" in ran.err
    assert dockerfile.read_text() == content


@pytest.mark.parametrize(
    "content",
    [
        BEFORE.replace("ARG RUNNER_SHA256=", "ARG RUNNER_SUM="),
        BEFORE.replace("ARG RUNNER_VERSION=2.337.0", "ARG RUNNER_VERSION=latest"),
        BEFORE + "ARG RUNNER_VERSION=2.336.0\n",
    ],
    ids=["no sum", "no version", "two versions"],
)
def test_a_dockerfile_without_exactly_its_two_lines_is_refused(dockerfile: Path, content: str) -> None:
    dockerfile.write_text(content)
    ran = updated(dockerfile, recorded("actions-runner-releases.json"))
    assert (ran.status, ran.outputs) == (1, "")
    assert "once each" in ran.err
    assert dockerfile.read_text() == content


def test_a_missing_dockerfile_is_refused_before_github_is_asked(tmp_path: Path) -> None:
    ran = run("update_runner.py", "--api", "http://127.0.0.1:9", outputs=tmp_path / "outputs")
    assert (ran.status, ran.err) == (1, "refused: Dockerfile: no such file\n")


def test_the_workflows_token_is_sent_only_to_github(dockerfile: Path) -> None:
    service = OneAnswerServer(json.dumps(recorded("actions-runner-releases.json")).encode())
    with service.serving() as url:
        options = ("--dockerfile", dockerfile, "--api", url)
        ran = run("update_runner.py", *options, outputs=dockerfile.with_name("outputs"), GITHUB_TOKEN="ghs_secret")
    [(path, headers)] = service.asked
    assert path.startswith("/repos/actions/runner/releases?")
    assert headers["authorization"] == "Bearer ghs_secret"
    assert "ghs_secret" not in ran.out + ran.err + ran.outputs + dockerfile.read_text()
