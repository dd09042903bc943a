"""Commands report errors of users as one message, and an installed PySlowFast before it causes any."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import slowfast
from slowfast.errors import ConfigError, DataError, InstallationError
from slowfast.exit_status import check_packages, outdated_packages, reports_foreign_package, run_command
from slowfast.interrupt import Interrupted


@pytest.fixture(autouse=True)
def _new_check() -> Iterator[None]:
    """Lets each test check the environment again; a process checks it once."""
    reports_foreign_package.cache_clear()
    check_packages.cache_clear()
    yield
    reports_foreign_package.cache_clear()
    check_packages.cache_clear()


def install(folder: Path, name: str, version: str, *needed: str) -> None:
    """Writes the metadata of an installed distribution, which needs the packages."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    requirements = "".join(f"Requires-Dist: {requirement}\n" for requirement in needed)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requirements}")


def import_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this package be imported from the folder, and packages first be found there."""
    monkeypatch.setattr(slowfast, "__file__", str(folder / "slowfast" / "__init__.py"))
    monkeypatch.syspath_prepend(folder)


def install_pyslowfast(folder: Path, name: str = "slowfast") -> None:
    install(folder, name, "1.0")


def fail(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("NUM_GPUS = -1: must be 0 or more"), 2, "NUM_GPUS = -1"),
        (DataError("too many broken videos"), 1, "too many broken videos"),
        (DataError("a\x1b[2J.mp4: missing"), 1, r"a\x1b[2J.mp4: missing"),
        (ConfigError(f"{'x' * 9999} (override): unknown"), 2, f"  - {'x' * 200}… (override): unknown"),
        (KeyboardInterrupt(), 130, "stopped; run it again"),
        (Interrupted(signal.SIGTERM, "2 of 3 videos are done"), 143, "SIGTERM: 2 of 3 videos are done"),
    ],
)
def test_errors_of_users_are_one_message_and_a_status(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("prog", lambda: fail(error), if_interrupted="stopped; run it again") == status
    captured = capsys.readouterr().err
    assert captured.startswith("prog: ")
    assert message in captured
    assert "Traceback" not in captured


def test_an_unexpected_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command("prog", lambda: 1 // 0)


def test_without_pyslowfast_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("prog", lambda: 0) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["slowfast", "pyslowfast"])
def test_pyslowfast_in_the_same_environment_is_a_warning(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_pyslowfast(tmp_path, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert run_command("prog", lambda: 0) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name} 1.0 in {tmp_path}" in line
    assert f"pip uninstall {name}" in line


def test_only_one_process_per_node_prints_the_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_pyslowfast(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_command("prog", lambda: 0) == 0
    assert capsys.readouterr().err == ""


def test_pyslowfast_in_the_same_folder_is_an_error_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two installations into one folder have overwritten each other's files."""
    install_pyslowfast(tmp_path)
    (tmp_path / "slowfast").symlink_to(Path(slowfast.__file__).parent)
    monkeypatch.syspath_prepend(tmp_path)
    assert run_command("prog", lambda: fail(AssertionError("work has started"))) == 1
    message = capsys.readouterr().err
    assert "PySlowFast (slowfast 1.0) has overwritten files of this program" in message
    assert "pip uninstall slowfast`, install this program again" in message


def test_an_imported_pyslowfast_is_an_error_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(slowfast, "__version__")  # PySlowFast's package has none
    assert run_command("prog", lambda: fail(AssertionError("work has started"))) == 1
    message = capsys.readouterr().err
    assert f"the imported package slowfast ({Path(slowfast.__file__).parent}) is PySlowFast's" in message
    assert "use a separate environment" in message


def test_a_package_that_is_too_old_is_an_error_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after the installation of another package, which needs an older one."""
    install(tmp_path, "slowfast-vtn", "1.0", "one>=2", "two>=1.5", "three>=9", 'four>=9; extra == "more"')
    install(tmp_path, "one", "2.0")
    install(tmp_path, "two", "1.4.9")  # `three` is missing; its import says so
    install(tmp_path, "four", "1.0")
    import_from(tmp_path, monkeypatch)
    assert run_command("prog", lambda: fail(AssertionError("work has started"))) == 1
    assert capsys.readouterr().err == (
        "prog: packages are too old, and results may be wrong: two>=1.5 (found 1.4.9); "
        f"run {sys.executable} -m pip install 'two>=1.5'\n"
    )
    with pytest.raises(InstallationError, match=r"two>=1\.5 \(found 1\.4\.9\)"):
        check_packages()


@pytest.mark.parametrize("is_installed", [True, False])
def test_an_updated_checkout_needs_the_packages_of_its_own_file(
    is_installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after ``git pull``: what the installation has recorded is older; and as without any installation."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["one>=2"]\n')
    if is_installed:
        install(tmp_path, "slowfast-vtn", "1.0", "one>=1")
    install(tmp_path, "one", "1.0")
    import_from(tmp_path, monkeypatch)
    with pytest.raises(InstallationError, match=r"one>=2 \(found 1\.0\)"):
        check_packages()


@pytest.mark.parametrize(
    ("found", "is_old"),
    [
        ("2.8.9", True),
        ("2.9", False),
        ("2.10", False),
        ("2.9.0+cpu", False),
        ("2.9.0a0+5228986c39.nv25", False),  # of a vendor's container
        ("2.8.0a0+5228986c39.nv25", True),
        ("3.0rc1", False),
    ],
)
def test_versions_are_compared_by_their_release(
    found: str, is_old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "one", found)
    monkeypatch.syspath_prepend(tmp_path)
    assert outdated_packages(["one>=2.9"]) == ({"one>=2.9": found} if is_old else {})


def test_a_reader_that_closes_standard_output_is_no_error_message() -> None:
    """The text is still in the buffer when the reader, such as ``head``, has ended."""
    code = (
        "import sys, time\n"
        "from slowfast.exit_status import run_command\n"
        "def work():\n"
        "    sys.stdin.read()\n"
        "    print('result')\n"
        "    return 0\n"
        "sys.exit(run_command('prog', work))\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen([sys.executable, "-c", code], text=True, env=environment, **pipes) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize("module", ["slowfast.cli.main", "vtn.cli.main", "vtn.cli.predict"])
def test_on_windows_a_command_prints_the_remedy_alone(module: str) -> None:
    """It has no ``SIGUSR1``, no module ``resource`` …, each of which would be another traceback."""
    # The libraries first, since those parts of Python that exist on Windows alone are not here.
    code = f"import lazy_loader, shutil, sys; sys.platform = 'win32'; import {module}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "slowfast-vtn runs on Linux and macOS; on Windows, install and run it in WSL: wsl --install\n"
    )
