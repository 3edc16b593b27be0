"""What is removed after a job, and which logs of a failure are saved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner_image import diagnostics
from runner_image.account import Account
from runner_image.leftovers import forget_job, left_behind, remember, restore
from runner_image.masking import Masker


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A runner's directory after a job."""
    root = tmp_path / "runner"
    for folder in ("bin", "_work/web", "_diag"):
        (root / folder).mkdir(parents=True)
    for file in ("config.sh", ".runner", ".credentials", ".credentials_rsaparams", ".env", "_diag/Worker_1.log"):
        (root / file).write_text("token hunter2")
    return root


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_without_an_account_only_the_runners_own_files_are_removed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (root / "_work" / "link").symlink_to(tmp_path / "precious")
    forget_job(root, None, [tmp_path])
    assert names(root) == {"bin", "config.sh", ".env"}
    assert (tmp_path / "precious").exists()


def test_the_runners_folder_is_restored(root: Path) -> None:
    """Without an account a job can write there, and `.env` sets the environment of the next Listener."""
    (root / "config.sh").chmod(0o755)
    folder = remember(root)
    (root / ".env").write_text("LD_PRELOAD=/tmp/evil.so")
    (root / "config.sh").unlink()
    (root / "config.sh").symlink_to("/bin/true")
    for name in (".path", "svc.sh", ".service"):
        (root / name).touch()
    (root / "planted").mkdir()
    (root / "planted" / "file").touch()
    forget_job(root, None, [])
    restore(root, folder)
    assert names(root) == {"bin", "config.sh", ".env"}
    assert [(root / name).read_text() for name in ("config.sh", ".env")] == ["token hunter2"] * 2
    assert not (root / "config.sh").is_symlink()
    assert (root / "config.sh").stat().st_mode & 0o777 == 0o755


def test_unchanged_files_in_the_runners_folder_are_not_written_again(root: Path) -> None:
    folder = remember(root)
    before = (root / "config.sh").stat()
    restore(root, folder)
    after = (root / "config.sh").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_folders_that_are_nested_too_deeply_are_removed(root: Path) -> None:
    script = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\nopen('secret', 'w').close()"
    subprocess.run([sys.executable, "-c", script], cwd=root / "_work", check=True)
    try:
        forget_job(root, None, [])
        assert not (root / "_work").exists()
    finally:  # pytest cannot remove it
        subprocess.run(["rm", "-rf", root / "_work"], check=True)


def test_with_an_account_its_files_and_its_home_are_removed(root: Path, tmp_path: Path) -> None:
    for folder in ("home", "tmp"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").touch()
    mine = Account(name="x", uid=os.getuid(), gid=os.getgid(), home=tmp_path / "home")
    shared = [tmp_path / "tmp", tmp_path / "absent"]
    assert {root / ".env", tmp_path / "tmp" / "file", tmp_path / "home" / "file"} < set(left_behind(root, mine, shared))
    other = Account(name="y", uid=os.getuid() + 1, gid=os.getgid(), home=tmp_path / "home")
    left = set(left_behind(root, other, shared))
    assert root / "_work" in left
    assert not left & {root / "bin", root / ".env", tmp_path / "tmp" / "file"}


def test_a_link_that_replaces_the_home_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "home").symlink_to(tmp_path / "precious")
    account = Account(name="y", uid=os.getuid() + 1, gid=0, home=tmp_path / "home")
    assert tmp_path / "home" / "file" not in left_behind(root, account, [])


def test_saved_logs_are_masked_and_private(root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "r-1"
    assert diagnostics.save(root, kept, Masker(["hunter2"])) == 1
    log = kept / "Worker_1.log"
    assert log.read_text() == "token ***"
    assert oct(log.stat().st_mode)[-3:] == "600"
    assert oct(kept.stat().st_mode)[-3:] == "700"


def test_a_job_cannot_replace_a_log_by_a_link_to_another_file(root: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("root's")
    (root / "_diag" / "Runner_2.log").symlink_to(tmp_path / "shadow")
    os.mkfifo(root / "_diag" / "Runner_3.log")
    assert diagnostics.save(root, tmp_path / "kept", Masker([])) == 1
    assert names(tmp_path / "kept") == {"Worker_1.log"}
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "_diag").symlink_to(root / "_diag")
    assert diagnostics.save(tmp_path / "linked", tmp_path / "again", Masker([])) == 0


@pytest.mark.parametrize(
    ("longest", "kept"), [(20, "x\n***\nend\n"), (18, "***\nend\n"), (17, "end\n"), (4, "end\n"), (3, "")]
)
def test_a_long_log_is_cut_at_the_start_of_a_line(root: Path, tmp_path: Path, longest: int, kept: str) -> None:
    (root / "_diag" / "Worker_1.log").write_text("x\ntoken hunter2\nend\n")
    diagnostics.save(root, tmp_path / "kept", Masker(["token hunter2"]), longest)
    assert (tmp_path / "kept" / "Worker_1.log").read_text() == kept
