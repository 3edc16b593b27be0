"""The daily update of the runpod SDK: when it changes the pin, and which answers it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.automation.scripts import OneAnswerServer, Ran, changed_lines, recorded, run
from tests.support import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(pinned("1.12.0"))
    return tmp_path


def pinned(version: str) -> str:
    """The project's own pyproject.toml, with `version` in its pin."""
    lines = [
        f'    "runpod~={version}",\n' if '"runpod~=' in line else line for line in PROJECT.splitlines(keepends=True)
    ]
    return "".join(lines)


def files(version: str, *, yanked: bool | str = False) -> list[dict[str, Any]]:
    """The files that PyPI lists for a release."""
    names = (f"runpod-{version}-py3-none-any.whl", f"runpod-{version}.tar.gz")
    return [{"filename": name, "hashes": {}, "requires-python": ">=3.10", "yanked": yanked} for name in names]


def answer(*more: list[dict[str, Any]]) -> bytes:
    """The recorded answer, with more releases."""
    document = recorded("pypi-runpod.json")
    for release in more:
        document["files"].extend(release)
    return json.dumps(document).encode()


def updated(repository: Path, body: bytes, status: int = 200) -> Ran:
    with OneAnswerServer(body, status).serving() as url:
        return run("update_runpod.py", "--root", repository, "--pypi", url, outputs=repository / "outputs")


@pytest.mark.parametrize(("release", "pin"), [("1.13.0", "1.13.0"), ("1.13.2", "1.13.2"), ("2.0", "2.0.0")])
def test_a_new_minor_or_major_version_changes_only_the_pin(repository: Path, release: str, pin: str) -> None:
    ran = updated(repository, answer(files(release)))
    assert (ran.status, ran.outputs) == (0, f"version={pin}\n")
    after = (repository / "pyproject.toml").read_text()
    assert changed_lines(pinned("1.12.0"), after) == [('    "runpod~=1.12.0",\n', f'    "runpod~={pin}",\n')]


def test_a_pin_in_the_images_requirements_changes_too(repository: Path) -> None:
    (repository / "runner_image").mkdir()
    image = repository / "runner_image" / "requirements.in"
    image.write_bytes(b"# the handler's\r\nhttpx>=0.28\r\nrunpod~=1.12.0\r\n")
    other = repository / "runner_image" / "other.in"
    other.write_text("runpod-flash~=1.12.0\nhttpx\n")
    updated(repository, answer(files("1.13.0")))
    assert image.read_bytes() == b"# the handler's\r\nhttpx>=0.28\r\nrunpod~=1.13.0\r\n"
    assert other.read_text() == "runpod-flash~=1.12.0\nhttpx\n"


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], id="nothing new"),
        pytest.param(files("1.12.7"), id="a patch, which the pin admits"),
        pytest.param(files("1.13.0rc1") + files("1.13.0.dev2") + files("2.0.0a1"), id="prereleases"),
        pytest.param(files("1.13.0", yanked=True), id="yanked"),
        pytest.param(files("1.13.0", yanked="breaks workers"), id="yanked with a reason"),
        pytest.param([{"filename": "runpod_flash-2.0.0-py3-none-any.whl", "yanked": False}], id="another project's"),
        pytest.param([{"filename": "runpod-2.0.0$(id).tar.gz", "yanked": False}], id="no version at all"),
        pytest.param([{"filename": "runpod-2.0.0.tar.gz.asc", "yanked": False}], id="nothing to install"),
    ],
)
def test_releases_that_need_no_pull_request_change_nothing(repository: Path, more: list[dict[str, Any]]) -> None:
    ran = updated(repository, answer(more))
    assert (ran.status, ran.outputs, ran.err) == (0, "", "")
    assert (repository / "pyproject.toml").read_text() == pinned("1.12.0")


def test_the_pin_is_never_lowered(repository: Path) -> None:
    (repository / "pyproject.toml").write_text(pinned("1.20.0"))
    ran = updated(repository, answer(files("1.19.9")))
    assert (ran.status, ran.outputs) == (0, "")
    assert (repository / "pyproject.toml").read_text() == pinned("1.20.0")


def test_versions_are_compared_as_numbers(repository: Path) -> None:
    (repository / "pyproject.toml").write_text(pinned("1.9.1"))
    assert updated(repository, answer()).outputs == "version=1.12.0\n"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        pytest.param(200, b"<html>maintenance</html>", "is not JSON", id="HTML"),
        pytest.param(200, b'{"files": [', "is not JSON", id="cut short"),
        pytest.param(200, b"[]", "no list of files", id="another shape"),
        pytest.param(200, b'{"files": {}}', "no list of files", id="files of another shape"),
        pytest.param(200, b'{"files": [1, {}, {"filename": null}]}', "no final release", id="no release"),
        pytest.param(503, b'{"files": []}', "answered 503", id="an error"),
        pytest.param(302, b"", "answered 302", id="elsewhere"),
    ],
)
def test_an_answer_that_cannot_be_trusted_is_refused_in_one_line(
    repository: Path, status: int, body: bytes, says: str
) -> None:
    ran = updated(repository, body, status)
    assert (ran.status, ran.outputs) == (1, "")
    assert says in ran.err
    assert ran.err.startswith("refused: ")
    assert ran.err.count("\n") == 1
    assert (repository / "pyproject.toml").read_text() == pinned("1.12.0")


def test_no_answer_is_refused_in_one_line(repository: Path) -> None:
    with OneAnswerServer(b"").serving() as url:
        pass
    ran = run("update_runpod.py", "--root", repository, "--pypi", url, outputs=repository / "outputs")
    assert (ran.status, ran.err) == (1, f"refused: {url}/simple/runpod/: no answer: ConnectError\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('dependencies = ["runpod>=1.12"]\n', "no runpod~=X.Y.Z"),
        ('a = ["runpod~=1.12.0"]\nb = ["runpod~=1.11.0"]\n', "is there 2 times"),
    ],
)
def test_a_project_without_exactly_one_pin_is_refused(repository: Path, content: str, says: str) -> None:
    (repository / "pyproject.toml").write_text(content)
    ran = updated(repository, answer(files("1.13.0")))
    assert (ran.status, ran.outputs) == (1, "")
    assert says in ran.err
    assert (repository / "pyproject.toml").read_text() == content


def test_the_projects_own_pin_can_be_updated(repository: Path) -> None:
    (repository / "pyproject.toml").write_text(PROJECT)
    assert updated(repository, answer(files("999.0.0"))).outputs == "version=999.0.0\n"
