"""``import vtn`` before and after transformers, and code from the folder without it; in new processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = """
import sys
from transformers import AutoConfig, AutoModelForVideoClassification, AutoVideoProcessor
folder = sys.argv[1]
processor = AutoVideoProcessor.from_pretrained(folder, **options)
model = AutoModelForVideoClassification.from_pretrained(folder, **options)
assert type(AutoConfig.from_pretrained(folder, **options)).__module__ == "vtn.transformers.configuration"
assert type(model).__module__ == "vtn.transformers.modeling"
assert type(processor).__module__ == "vtn.transformers.video_processing"
"""
PROGRAMS = {
    "vtn first": f"import vtn\noptions = {{}}{LOAD}",
    "vtn last": f"from transformers import AutoConfig\nimport vtn\noptions = {{}}{LOAD}",
    "remote code": f"options = {{'trust_remote_code': True}}{LOAD}",
}


def run(program: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", program, str(folder)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


# All other tests here import vtn first, in the process of the tests.
@pytest.mark.parametrize(
    "name",
    [
        "remote code",
        pytest.param("vtn first", marks=pytest.mark.faults),
        pytest.param("vtn last", marks=pytest.mark.faults),
    ],
)
def test_the_auto_classes_know_the_models(name: str, published: Path, tmp_path: Path) -> None:
    done = run(PROGRAMS[name], published, tmp_path)
    assert done.returncode == 0, done.stderr


def test_importing_vtn_imports_neither_transformers_nor_torch() -> None:
    program = (
        "import sys, vtn\n"
        "import vtn.project, vtn.transformers\n"
        "assert not {'transformers', 'torch'} & set(sys.modules), sorted(sys.modules)\n"
        "import importlib.util\n"
        "assert importlib.util.find_spec('transformers') is not None"
    )
    done = run(program, Path(), Path())
    assert done.returncode == 0, done.stderr


def test_the_code_in_a_folder_names_the_package_to_install(published: Path, tmp_path: Path) -> None:
    code = (published / "modeling_vtn.py").read_text()
    program = f"import sys\nsys.modules['vtn'] = None\nexec({code!r})"
    done = run(program, published, tmp_path)
    assert done.returncode == 1
    assert "this model needs the package slowfast-vtn: pip install slowfast-vtn" in done.stderr
