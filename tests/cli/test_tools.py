"""The files in ``tools``: each runs by its path alone, also in a checkout that is not installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = sorted((Path(__file__).parents[2] / "tools").glob("[!_]*.py"))
# Their commands start further processes, which need an installed package.
NEED_INSTALLATION = {"quickstart", "submit"}

# Hides an editable installation: the packages are not found, and no entry point announces the project.
UNINSTALLED = """
import importlib.metadata, runpy, sys
sys.meta_path = [finder for finder in sys.meta_path if "Editable" not in str(finder)]
sys.path = [path for path in sys.path if path]
importlib.metadata.entry_points = lambda **kwargs: ()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs Python without the PYTHONPATH of the tests, which may name a checkout."""
    command = [sys.executable, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", env=environment)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_a_tool_shows_the_help_of_its_command_with_its_own_name_also_where_nothing_is_installed(
    tool: Path,
) -> None:
    result = run("-c", UNINSTALLED, tool, "--help")
    if tool.stem in NEED_INSTALLATION:
        assert result.returncode == 1
        assert f"tools/{tool.name}: install the package first: pip install -e" in result.stderr
        result = run(tool, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: python tools/{tool.name} ")
    assert re.search(rf"\n  +python tools/{tool.name} ", result.stdout)


def test_projects_of_a_checkout_that_is_not_installed_are_found() -> None:
    """Its configurations are found by name, and so is the command that it adds."""
    run_net, analyze = (TOOLS[0].with_name(name) for name in ("run_net.py", "analyze.py"))
    result = run(
        "-c", UNINSTALLED, run_net, "--cfg", run_net.parents[1] / "configs" / "VTN" / "VIT_B_VTN.yaml"
    )
    assert result.returncode == 2
    assert "1 problem in" in result.stderr
    assert "DATA.PATH_TO_DATA_DIR" in result.stderr
    assert "  backbones " in run("-c", UNINSTALLED, analyze, "--help").stdout


def test_a_checkout_on_the_path_of_python_is_as_good_as_an_installed_one() -> None:
    """As by ``PYTHONPATH``: its projects and the names of their configurations are those of its own file."""
    root = TOOLS[0].parents[1]
    run_net = f"import sys; sys.path += ['{root}', '{root / 'projects/vtn'}']\n{UNINSTALLED}"
    for config in ("VIT_B_VTN", "Kinetics/SLOW_8x8_R50"):
        result = run("-c", run_net, TOOLS[0].with_name("run_net.py"), "--cfg", config)
        assert f"1 problem in {config}:\n  - DATA.PATH_TO_DATA_DIR" in result.stderr


def test_a_python_without_the_packages_gets_the_command_that_installs_them() -> None:
    tool = TOOLS[0].with_name("run_net.py")
    result = run("-I", "-S", tool, "--help")
    assert result.returncode == 2
    assert "lacks packages" in result.stderr
    assert f" -m pip install -e {tool.parents[1]}" in result.stderr
    assert "Traceback" not in result.stderr
