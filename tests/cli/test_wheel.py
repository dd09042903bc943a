"""The wheel and the source archive: all files that the packages need; commands work in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import slowfast

ROOT = Path(__file__).parents[2]
# Folder of the repository -> folder in the wheel.
FOLDERS = {
    "slowfast": "slowfast",
    "projects/vtn/vtn": "vtn",
    "configs/VTN": "vtn/configs",
    "configs/Kinetics": "slowfast/configs",
}
ZOO = "vtn/zoo_data/zoo.yaml"


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source archive built from a copy of the sources, so that no file of the checkout changes."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("slowfast", "projects", "configs", "tests/support"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    shutil.copy(ROOT / "tests" / "test_files.py", source / "tests")
    return build("sdist", source, tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def wheel(source_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the source archive, as an installer does."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(source_archive) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


def build(kind: str, source: Path, output: Path) -> Path:
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(output)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = output.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files, unpacked as an installer does."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m PROGRAM.cli.main …`` with the unpacked wheel in place of the checkout."""
    program, *rest = arguments
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", f"{program}.cli.main", *rest]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_source_archive_holds_no_test(source_archive: Path) -> None:
    """setuptools would add the tests of one folder, without those that they need."""
    with tarfile.open(source_archive) as archive:
        assert not [name for name in archive.getnames() if "/tests" in name]


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Modules, configurations, templates, stubs, marks of typing; all but pages for readers."""
    expected = {ZOO}
    for source, target in FOLDERS.items():
        for path in (ROOT / source).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".pyc", ".md"):
                expected.add(f"{target}/{path.relative_to(ROOT / source)}")
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected
    for needed in ("slowfast/py.typed", "vtn/py.typed", "vtn/__init__.pyi", "vtn/configs/QUICKSTART.yaml"):
        assert needed in found


def test_metadata_name_version_and_commands(installed: Path) -> None:
    (info,) = installed.glob("*.dist-info")
    metadata = Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    assert metadata["Version"] == slowfast.__version__
    entries = (info / "entry_points.txt").read_text(encoding="utf-8")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert {"slowfast", "vtn", "slowfast-run"} <= set(scripts)
    for name, target in scripts.items():
        assert f"{name} = {target}" in entries


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("slowfast --help", "  zoo "),
        ("slowfast run --help", "slowfast run --cfg VIT_B_VTN"),
        ("slowfast zoo", "VTN_VIT_B_KINETICS.pyth"),
        ("slowfast analyze --help", "  backbones "),
        ("slowfast analyze flops --help", "--frames"),
        ("vtn quickstart --help", "output/quickstart"),
        ("vtn predict --help", "--checkpoint"),
    ],
)
def test_commands_work_in_an_empty_folder(installed: Path, tmp_path: Path, command: str, text: str) -> None:
    before = files_of(installed)
    result = run(installed, tmp_path, *command.split())
    assert result.returncode == 0, result.stderr
    assert text in result.stdout
    assert files_of(installed) == before
    assert not list(tmp_path.iterdir())


def test_the_unpacked_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    code = "import slowfast, vtn; print(slowfast.__file__); print(vtn.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-B", "-c", code]
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    assert printed.splitlines() == [str(installed / name / "__init__.py") for name in ("slowfast", "vtn")]


def test_outputs_go_to_the_current_folder(installed: Path, small_dataset: Path, tmp_path: Path) -> None:
    """A scan, then one training step and a test, of a model that is small enough for a test."""
    before = files_of(installed)
    scan = run(installed, tmp_path, "slowfast", "prepare", "scan", str(small_dataset), "--json", "scan.json")
    assert scan.returncode == 0, scan.stderr
    assert (tmp_path / "scan.json").is_file()
    arguments = (
        f"run --cfg QUICKSTART DATA.PATH_TO_DATA_DIR {small_dataset} NUM_GPUS 0 DATA_LOADER.NUM_WORKERS 0 "
        "TRAIN.BATCH_SIZE 2 TRAIN.MAX_STEPS 1 TEST.BATCH_SIZE 2 OUTPUT_DIR here"
    ).split()
    trained = run(installed, tmp_path, "slowfast", *arguments)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert (tmp_path / "here" / "metrics.jsonl").is_file()
    assert files_of(installed) == before
