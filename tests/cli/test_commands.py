"""The commands ``slowfast`` and ``vtn``: help at once and with examples, clear mistakes."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import slowfast
import slowfast.cli.main
import slowfast.cli.prepare
import vtn
import vtn.cli.main
from slowfast.cli.analyze import find_analyses
from slowfast.cli.benchmark import find_checkout
from slowfast.cli.benchmark import main as benchmark
from slowfast.cli.commands import make_parser, summary
from slowfast.registry import Project, projects

# Importing any of these takes longer than the help may take.
HEAVY = ("torch", "numpy", "av", "matplotlib", "timm", "transformers", "fvcore")
COMMANDS = {
    **{f"slowfast {name}": module for name, module in slowfast.cli.main.COMMANDS.items()},
    **{f"slowfast {name}": module for project in projects() for name, module in project.commands.items()},
    **{f"vtn {name}": module for name, module in vtn.cli.main.COMMANDS.items()},
}
SUBCOMMANDS = {
    **{f"slowfast prepare {name}": module for name, module in slowfast.cli.prepare.COMMANDS.items()},
    **{f"slowfast analyze {name}": module for name, module in find_analyses().items()},
}


# Prints [status, output, heavy modules that were imported] of the help of each command.
HELP_OF_ALL = """
import contextlib, importlib, io, json, sys
commands, heavy = json.loads(sys.argv[1])
found = {}
for command in commands:
    program, *names = command.split()
    known = set(sys.modules)
    main = importlib.import_module(f"{program}.cli.main").main
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            status = main([*names, "--help"])
        except SystemExit as stop:
            status = stop.code
    found[command] = [status, output.getvalue(), sorted(set(heavy) & (set(sys.modules) - known))]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[int, str, list[str]]]:
    """Status, output and heavy imports of the help of each command, from one new process for all of them."""
    wanted = json.dumps([["slowfast", "vtn", *COMMANDS, *SUBCOMMANDS], HEAVY])
    result = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, wanted], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(result.stdout)


@pytest.mark.parametrize("command", ["slowfast", "vtn", *COMMANDS, *SUBCOMMANDS])
def test_help_shows_examples_and_imports_nothing_heavy(
    command: str, helps: dict[str, tuple[int, str, list[str]]]
) -> None:
    status, output, imported = helps[command]
    assert status == 0
    assert output.startswith(f"usage: {command} ")
    _, title, examples = output.partition("\nexamples:\n")
    assert title
    assert f" {command} " in examples
    assert imported == []


def test_a_help_is_printed_where_the_encoding_lacks_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``LANG=en_US`` or ``LC_ALL=C`` on a cluster: the help ended with a UnicodeEncodeError."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit):
        slowfast.cli.main.main(["probe", "--help"])
    terminal.seek(0)
    assert r"\u2026" in terminal.read()


@pytest.mark.parametrize("program", ["slowfast", "vtn", "slowfast analyze", "slowfast prepare"])
def test_the_list_names_every_command_with_its_summary(
    program: str, helps: dict[str, tuple[int, str, list[str]]]
) -> None:
    listed = " ".join(helps[program][1].split())
    known = [(*command.rpartition(" "), module) for command, module in {**COMMANDS, **SUBCOMMANDS}.items()]
    own = [(name, module) for parent, _, name, module in known if parent == program]
    assert own
    for name, module in own:
        assert f" {name} {summary(module)}" in listed


@pytest.mark.parametrize("module", [*COMMANDS.values(), *SUBCOMMANDS.values()])
def test_the_summary_is_read_without_importing_the_module(module: str) -> None:
    assert summary(module) == (importlib.import_module(module).__doc__ or "").splitlines()[0]


def test_without_a_command_the_list_is_printed_and_the_status_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        slowfast.cli.main.main([])
    assert stop.value.code == 2
    assert "  extract " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("vtn xyz", "xyz: is not a command of vtn; must be one of explain, export, predict,"),
        ("vtn predct", "predct: is not a command of vtn; did you mean `vtn predict`?"),
        ("vtn run", "run: is not a command of vtn; use `slowfast run`"),
        ("slowfast train", "train: is not a command of slowfast; use `slowfast run`"),
        ("slowfast prepare splt", "did you mean `slowfast prepare split`?"),
        ("slowfast analyze backbone", "did you mean `slowfast analyze backbones`?"),
        ("slowfast run", "the following arguments are required: --cfg"),
        # An extraction has no dry run; the option must not be ignored while features are written.
        ("slowfast extract --cfg QUICKSTART --dry-run", "unrecognized arguments: --dry-run"),
        ("slowfast submit --nodes 2", "give the run after --"),
        ("slowfast submit --hours 0 -- --cfg A", "argument --hours: 0: must be above 0 and finite"),
        ("slowfast submit --grace 0 -- --cfg A", "argument --grace: 0: must be 1 or more"),
        ("slowfast submit --nodes 0 -- --cfg A", "argument --nodes: 0: must be 1 or more"),
        ("slowfast submit --cpus 0 -- --cfg A", "argument --cpus: 0: must be 1 or more"),
        # 0 stood for the configuration's own size, and -3 ended with a traceback.
        ("slowfast analyze flops --cfg VIT_B_VTN --frames 0", "argument --frames: 0: must be 1 or more"),
        ("slowfast analyze flops --cfg VIT_B_VTN --size -3", "argument --size: -3: must be 1 or more"),
        ("slowfast analyze predictions a.npz --worst -5", "argument --worst: -5: must be 0 or more"),
        ("slowfast analyze predictions a b --weights nan 1", "--weights: nan: must be above 0 and finite"),
        ("slowfast analyze predictions a b --weights 1 -1", "--weights: -1: must be above 0 and finite"),
        ("vtn quickstart --seed -1", "argument --seed: -1: must be 0 or more"),  # was a traceback
        ("vtn serve model --port abc", "argument --port: invalid integer value: 'abc'"),
        ("vtn serve model --port 65536", "argument --port: 65536: must be 65535 or less"),
    ],
)
def test_wrong_arguments_are_refused_with_what_may_be_meant(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = command.split()
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"{program}.cli.main").main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_file_named_like_an_option_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-dash.mp4").touch()
    with pytest.raises(SystemExit) as stop:
        vtn.cli.main.main(["predict", "model", "-dash.mp4"])
    assert stop.value.code == 2
    assert "-dash.mp4; write ./-dash.mp4 for the file of this name" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["slowfast", "vtn"])
def test_the_version_has_one_source(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = {"slowfast": slowfast.cli.main.main, "vtn": vtn.cli.main.main}[program]
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"{program} {slowfast.__version__}\n"
    assert vtn.__version__ == slowfast.__version__


def test_examples_show_the_program_that_was_started() -> None:
    doc = "A summary.\n\nDetails.\n\nexamples:\n  slowfast run --cfg F\n"
    text = make_parser(doc, "python tools/run_net.py", "slowfast run").format_help()
    assert "slowfast run" not in text
    assert text.index("Details.") < text.index("options:") < text.index("  python tools/run_net.py --cfg F")


def test_arguments_reach_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert slowfast.cli.main.main(["zoo", "vit_b_vtn"]) == 0
    assert "TEST.CHECKPOINT_FILE_PATH VTN_VIT_B_KINETICS.pyth" in capsys.readouterr().out
    assert slowfast.cli.main.main(["zoo", "VIT_C_VTN"]) == 2
    assert "did you mean VIT_B_VTN" in capsys.readouterr().err


class TestProjects:
    def test_a_project_adds_commands_and_cannot_replace_those_of_the_framework(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        project = Project("Other", lambda cfg: None, commands={"run": "vtn.cli.zoo", "models": "vtn.cli.zoo"})
        monkeypatch.setattr("slowfast.registry.projects", lambda: (project,))
        assert slowfast.cli.main.main(["models"]) == 0
        assert "VIT_B_VTN" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            slowfast.cli.main.main(["--help"])
        listed = " ".join(capsys.readouterr().out.split())
        assert f" run {summary('slowfast.cli.run')}" in listed
        assert f" models {summary('vtn.cli.zoo')}" in listed


class TestBenchmark:
    def test_benchmarks_of_the_checkout_are_found(self) -> None:
        assert find_checkout() == Path(__file__).parents[2]

    def test_outside_of_a_checkout_the_command_says_where_benchmarks_are(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("slowfast.cli.benchmark.find_checkout", lambda: None)
        assert benchmark(["temporal"]) == 1
        assert "clone the repository and run this command in its folder" in capsys.readouterr().err
        assert benchmark(["--help"]) == 0
        assert "clone the repository" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [50, 80, 300])
def test_texts_of_the_help_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    sentence = "one two three four five six seven eight nine ten eleven twelve"
    command = f"    program {'ARGUMENT ' * 20}"
    doc = f"Summary.\n\n{sentence}\n{sentence}\nExit status: 0 done.\n\nexamples:\n  title\n{command}\n"
    lines = make_parser(doc, "program").format_help().splitlines()
    assert command.rstrip() in [line.rstrip() for line in lines], "it can be copied"
    paragraph = lines[lines.index("Summary.") + 2 : lines.index("Exit status: 0 done.")]
    assert " ".join(paragraph) == f"{sentence} {sentence}"
    longest = min(columns - 2, 108)
    assert longest - len(" twelve") < max(map(len, paragraph)) <= longest


def test_texts_in_the_list_of_commands_stay_beside_the_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        slowfast.cli.main.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    listed = lines[lines.index("commands:") + 1 : lines.index("options:") - 1]
    assert max(map(len, listed)) < 60
    texts = {len(line) - len(line.lstrip()) for line in listed if line.startswith("   ")}
    assert len(texts) == 1, "one column"
