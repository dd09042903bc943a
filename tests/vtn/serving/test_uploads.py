"""Temporary files are removed after a request, at the end of a server, and after its crash."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slowfast.errors import InputError
from vtn.serving.uploads import UploadFolder, default_base

HOLD = """
import sys, time
from pathlib import Path
from vtn.serving.uploads import UploadFolder
folder = UploadFolder(Path(sys.argv[1]))
with folder.request() as request:
    (request / "upload").write_bytes(b"x")
    print(folder.path, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "base"


def test_a_request_leaves_nothing(base: Path) -> None:
    folder = UploadFolder(base)
    with pytest.raises(ZeroDivisionError), folder.request() as request:
        (request / "upload").write_bytes(bytes(1 // 0))
    assert list(folder.path.iterdir()) == [folder.worker_path]
    folder.close()
    folder.close()
    assert list(base.iterdir()) == []


def test_the_next_server_removes_the_files_of_a_crashed_one_alone(base: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(base)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        held = Path(process.stdout.readline().strip())
        second = UploadFolder(base)
        assert held.is_dir()  # its server runs
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert held.is_dir()
    third = UploadFolder(base)
    assert not held.exists()
    assert second.path.is_dir()
    second.close()
    third.close()
    assert list(base.iterdir()) == []


def test_a_link_in_the_base_is_not_followed(base: Path, tmp_path: Path) -> None:
    base.mkdir(0o700)
    (base / "server-link").symlink_to(tmp_path)
    (tmp_path / "video").touch()
    UploadFolder(base).close()
    assert (tmp_path / "video").exists()


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_of_others_is_refused(mode: int, base: Path, tmp_path: Path) -> None:
    base.mkdir()
    base.chmod(mode)
    with pytest.raises(InputError, match="other users can write into it"):
        UploadFolder(base)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="must be a folder"):
        UploadFolder(tmp_path / "link")


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 4321"), OSError("No username set")])
def test_a_user_without_a_name(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", fail)
    assert default_base().name == f"vtn-serve-{os.getuid()}"


@pytest.mark.parametrize("part", ["base", "lock", "folder"])
def test_parts_that_a_cleaner_of_temporary_files_removed_are_created_again(base: Path, part: str) -> None:
    folder = UploadFolder(base)
    lock = folder.path.with_name(f"{folder.path.name}.lock")
    if part == "lock":
        lock.unlink()
    else:
        shutil.rmtree(base if part == "base" else folder.path)
    with folder.request() as request:
        assert request.is_dir()
        assert [path.stat().st_mode & 0o777 for path in (base, folder.path)] == [0o700, 0o700]
        UploadFolder(base).close()  # finds the folder locked
        assert request.is_dir()
    folder.close()
    assert list(base.iterdir()) == []


def test_a_base_that_another_user_created_in_the_meantime_is_refused(base: Path) -> None:
    folder = UploadFolder(base)
    shutil.rmtree(base)
    base.mkdir()
    base.chmod(0o777)
    with pytest.raises(InputError, match="other users can write into it"), folder.request():
        pass
