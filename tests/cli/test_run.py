"""``slowfast run``: fast help, clear mistakes, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

import slowfast.cli.run
from slowfast.errors import DataError

TOOL = Path(__file__).parents[2] / "tools" / "run_net.py"


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")


def test_a_mistake_in_the_configuration_is_found_without_torch() -> None:
    code = (
        "import sys\nfrom slowfast.cli.run import main\n"
        "assert main(['--cfg', 'VIT_B_VTN', 'RNG_SED', '1']) == 2\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert run_python("-c", code).returncode == 0


def test_all_problems_of_a_configuration_are_printed_without_traceback() -> None:
    result = run_python(str(TOOL), "--cfg", "VIT_B_VTN", "TRAIN.BATCH_SIZ", "4", "SOLVER.MAX_EPOCH", "0")
    assert result.returncode == 2
    assert "did you mean TRAIN.BATCH_SIZE" in result.stderr
    assert "SOLVER.MAX_EPOCH (override) = 0" in result.stderr
    assert "DATA.PATH_TO_DATA_DIR" in result.stderr
    assert "Traceback" not in result.stderr


def test_of_the_processes_of_a_node_the_first_reports_a_wrong_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others wait for their end by torchrun, which would otherwise end the first before it reports."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    wrong = ["--cfg", "VIT_B_VTN", "RNG_SED", "1"]
    for rank, local_rank in (("1", "1"), ("3", "1")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        with pytest.raises(SystemExit, match="2"):
            slowfast.cli.run.main(wrong)
        assert capsys.readouterr().err == ""
    assert waits == [15.0] * 2
    monkeypatch.setenv("LOCAL_RANK", "0")  # of the second node, which may have another file
    assert slowfast.cli.run.main(wrong) == 2
    assert "RNG_SED" in capsys.readouterr().err


class TestMain:
    """The command line in this process, with the engine replaced."""

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[CfgNode, str]]:
        calls: list[tuple[CfgNode, str]] = []

        def run(cfg: CfgNode, init_method: str, *, dry_run: bool) -> int:
            calls.append((cfg, init_method))
            return 0

        monkeypatch.setitem(sys.modules, "slowfast.engine.run", type(sys)("slowfast.engine.run"))
        monkeypatch.setattr(sys.modules["slowfast.engine.run"], "run", run, raising=False)
        for name in ("train.csv", "val.csv", "test.csv"):
            (tmp_path / name).write_text("a.mp4 0\n")
        monkeypatch.chdir(tmp_path)
        return calls

    def test_arguments_reach_the_configuration(self, calls: list[tuple[CfgNode, str]]) -> None:
        arguments = (
            "--cfg VIT_B_VTN DATA.PATH_TO_DATA_DIR . --num_shards 2 --shard_id 1 "
            "--init_method tcp://10.0.0.1:9999 RNG_SEED 5 --opts LOG_PERIOD 3 --opts NUM_GPUS 4"
        )
        assert slowfast.cli.run.main(arguments.split()) == 0
        ((cfg, init_method),) = calls
        assert (cfg.NUM_SHARDS, cfg.SHARD_ID, cfg.RNG_SEED, cfg.LOG_PERIOD) == (2, 1, 5, 3)
        assert cfg.NUM_GPUS == 4
        assert init_method == "tcp://10.0.0.1:9999"

    def test_only_the_first_process_prints_warnings(
        self,
        calls: list[tuple[CfgNode, str]],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        arguments = ["--cfg", "VIT_B_VTN", "DATA.PATH_TO_DATA_DIR", "."]
        arguments += ["VTN.PAD_TOKEN_ID", "-1", "NUM_SHARDS", "2"]
        assert slowfast.cli.run.main([*arguments, "--shard_id", "1"]) == 0
        monkeypatch.setenv("RANK", "3")
        assert slowfast.cli.run.main(arguments) == 0
        assert caplog.records == []
        monkeypatch.setenv("RANK", "0")
        assert slowfast.cli.run.main(arguments) == 0
        assert "VTN.PAD_TOKEN_ID" in caplog.text

    def test_errors_become_exit_statuses(
        self,
        calls: list[tuple[CfgNode, str]],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def fail(cfg: CfgNode, init_method: str, *, dry_run: bool) -> int:
            raise DataError("half of the videos are broken")

        monkeypatch.setattr(sys.modules["slowfast.engine.run"], "run", fail)
        assert slowfast.cli.run.main(["--cfg", "VIT_B_VTN", "DATA.PATH_TO_DATA_DIR", "."]) == 1
        assert "half of the videos are broken" in capsys.readouterr().err
