"""All trackers in whole runs without a network: the same names and values as in metrics.jsonl."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from slowfast.config import load_config
from slowfast.engine.run import run
from slowfast.errors import CheckpointError, ConfigError
from slowfast.interrupt import Interrupted
from slowfast.tracking.environment import describe_environment, describe_git
from slowfast.tracking.kinds import MLflow
from slowfast.tracking.tensorboard import TensorBoard
from slowfast.tracking.tracker import TRACKER_REGISTRY, Outcome, RunDescription, Tracker, TrackerKind
from slowfast.tracking.trackers import Trackers
from tests.support.processes import run_forked
from tests.support.run_results import losses_of, metrics_of, run_with_signal
from tests.support.tiny import tiny_config
from tests.support.tracking.readers import READERS, read_tensorboard


def skip_without(name: str) -> None:
    """Skips a test of a tracker that is not installed; importing Trackio would fix its folder."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed; it is in the extra {name!r}")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Removes settings of the user, and keeps packages from looking for a network.

    W&B makes temporary folders when it is imported, and a forked process does not remove them at its end.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("t")))
    for name in ("TRACKIO_DIR", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.mark.parametrize("name", READERS)
def test_a_tracker_records_curves_configuration_and_final_metrics(
    colour_videos: Path, tmp_path: Path, name: str
) -> None:
    skip_without(name)
    options = ("TRACKERS", (name,), "SOLVER.MAX_EPOCH", 2)
    assert run_forked(run, tiny_config(colour_videos, tmp_path, *options)) == 0
    assert "has failed" not in (tmp_path / "stdout.log").read_text()
    curves, text = READERS[name](tmp_path)
    steps = losses_of(tmp_path)
    assert [step for step, _ in curves["Train/loss"]] == list(range(1, len(steps) + 1))
    assert [value for _, value in curves["Train/loss"]] == pytest.approx(steps, rel=1e-5)
    validated = [line["top1_err"] for line in metrics_of(tmp_path, "val_epoch")]
    assert [step for step, _ in curves["Val/top1_err"]] == [6, 12]
    assert [value for _, value in curves["Val/top1_err"]] == pytest.approx(validated, rel=1e-5)
    (tested,) = metrics_of(tmp_path, "test_final")
    assert curves["Test/top1_acc"] == [(12, pytest.approx(tested["top1_acc"]))]
    for recorded in ("SOLVER.BASE_LR", "0.05", "git_commit", "system", "python"):
        assert recorded in text, recorded


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "mlflow"])
def test_a_resumed_run_continues_its_curves(colour_videos: Path, tmp_path: Path, name: str) -> None:
    skip_without(name)
    options = ("TRACKERS", (name,), "TEST.ENABLE", False, "SOLVER.MAX_EPOCH", 2)
    assert run_forked(run, tiny_config(colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", 6)) == 0
    assert run_forked(run, tiny_config(colour_videos, tmp_path, *options)) == 0
    curves, _ = READERS[name](tmp_path)
    assert [step for step, _ in curves["Train/loss"]] == list(range(1, 13))


def test_tensorboard_forgets_points_that_a_resumed_run_repeats(tmp_path: Path) -> None:
    """As after a crash at step 8, with a checkpoint of step 6."""
    for start, end in ((0, 8), (6, 12)):
        tracker = TensorBoard(tmp_path / "runs-kinetics")
        tracker.rewind(start)
        for step in range(start + 1, end + 1):
            tracker.log({"Train/loss": step}, step)
        tracker.finish({"Test/top1_acc": 50.0}, Outcome.FAILED)
    curves, _ = read_tensorboard(tmp_path)
    assert curves["Train/loss"] == [(step, step) for step in range(1, 13)]
    assert curves["Test/top1_acc"] == [(12, 50.0)]


class Failing(Tracker):
    """A tracker that fails in one of its methods."""

    def __init__(self, method: str) -> None:
        self.method = method

    def _fail(self, method: str) -> None:
        if method == self.method:
            raise OSError(f"the disk is full in {method}")

    def log(self, metrics: Any, step: int) -> None:
        self._fail("log")

    def log_confusion(self, confusion: Any, step: int) -> None:
        self._fail("log_confusion")

    def finish(self, summary: Any, outcome: Outcome) -> None:
        self._fail("finish")


class Noting(Failing):
    """A tracker that appends the outcome of its run to a list."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__("")
        self.outcomes = outcomes

    def finish(self, summary: Any, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def test_a_tracker_gets_the_step_from_which_a_run_goes_on(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []

    class Rewinding(Failing):
        def rewind(self, step: int) -> None:
            starts.append(step)

    monkeypatch.setitem(TRACKER_REGISTRY._entries, "rewinding", TrackerKind(lambda _: Rewinding("")))
    options = ("TRACKERS", ("rewinding",), "TEST.ENABLE", False)
    for steps in (6, 8):
        assert run(tiny_config(colour_videos, tmp_path, *options, "TRAIN.MAX_STEPS", steps)) == 0
    assert starts == [0, 6]


def test_trackers_are_told_how_the_run_ended(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[Outcome] = []
    monkeypatch.setitem(TRACKER_REGISTRY._entries, "noting", TrackerKind(lambda _: Noting(outcomes)))
    options = ("TRACKERS", ("noting",), "SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False)
    assert run_with_signal(tiny_config(colour_videos, tmp_path, *options), signal.SIGTERM, 2) == 143
    with pytest.raises(CheckpointError):
        run(tiny_config(colour_videos, tmp_path, *options, "MODEL.NUM_CLASSES", 9))
    assert outcomes == [Outcome.INTERRUPTED]  # the start that was refused is not a part of the run
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    assert outcomes == [Outcome.INTERRUPTED, Outcome.COMPLETE]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.COMPLETE),
        (Interrupted(signal.SIGTERM), Outcome.INTERRUPTED),
        (KeyboardInterrupt(), Outcome.INTERRUPTED),
        (RuntimeError("a defect"), Outcome.FAILED),
        (SystemExit(1), Outcome.FAILED),
    ],
    ids=repr,
)
def test_each_end_of_a_run_has_its_outcome(error: BaseException | None, outcome: Outcome) -> None:
    outcomes: list[Outcome] = []
    description = RunDescription("a", "b", Path(), "c", {}, {})
    trackers = Trackers([("noting", TrackerKind(lambda _: Noting(outcomes)))], description)
    trackers.start()
    with contextlib.suppress(BaseException), trackers.noting_outcome():
        if error is not None:
            raise error
    for _ in range(2):  # the watchdog and the main thread may both finish them
        trackers.finish()
    assert outcomes == [outcome]


@pytest.mark.parametrize(("outcome", "status"), [("interrupted", "KILLED"), ("failed", "FAILED")])
def test_mlflow_shows_the_outcome_of_a_run(tmp_path: Path, outcome: str, status: str) -> None:
    skip_without("mlflow")
    tracker = MLflow(RunDescription("a", "slowfast", tmp_path, "c", {}, {}))
    tracker.finish({}, Outcome(outcome))
    from mlflow.tracking import MlflowClient

    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("slowfast")
    assert client.search_runs([experiment.experiment_id])[0].info.status == status


@pytest.mark.parametrize("method", ["start", "log", "log_confusion", "finish"])
def test_a_tracker_that_fails_is_reported_once_and_the_run_goes_on(
    colour_videos: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(description: RunDescription) -> Failing:
        if method == "start":
            raise RuntimeError("no server")
        return Failing(method)

    monkeypatch.setitem(TRACKER_REGISTRY._entries, "failing", TrackerKind(start))
    options = ("TRACKERS", ("failing", "tensorboard"), "TRAIN.MAX_STEPS", 7)
    assert run(tiny_config(colour_videos, tmp_path, *options)) == 0
    log = (tmp_path / "stdout.log").read_text()
    assert log.count("TRACKERS: failing has failed and is left out") == 1
    curves, _ = read_tensorboard(tmp_path)  # the other tracker is not affected
    assert len(curves["Train/loss"]) == 7
    assert metrics_of(tmp_path, "test_final")


def test_values_that_are_not_finite_numbers_are_left_out() -> None:
    seen: list[Any] = []

    class Recorder(Failing):
        def log(self, metrics: Any, step: int) -> None:
            seen.append((dict(metrics), step))

    description = RunDescription("a", "b", Path(), "c", {}, {})
    trackers = Trackers([("recorder", TrackerKind(lambda _: Recorder("")))], description)
    trackers.start()
    trackers.log({"loss": 1, "nan": float("nan"), "text": "x"}, 3)  # type: ignore[dict-item]
    trackers.log({"nan": float("nan")}, 4)
    assert seen == [({"loss": 1.0}, 3)]


def test_a_tracker_that_is_not_installed_is_refused_before_the_run(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else find(name, *rest)
    )
    paths = ["DATA.PATH_TO_DATA_DIR", str(colour_videos), "OUTPUT_DIR", str(tmp_path)]
    with pytest.raises(ConfigError, match="run `pip install wandb`"):
        load_config("SLOW_8x8_R50", [*paths, "TRACKERS", "[wandb]"], for_run=True)
    with pytest.raises(ConfigError, match="did you mean wandb"):
        load_config("SLOW_8x8_R50", [*paths, "TRACKERS", "[wandbb]"])


def test_the_environment_has_the_state_of_a_checkout(tmp_path: Path) -> None:
    assert describe_git(tmp_path) == {}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "a.txt").write_text("1")
    for command in (["init", "-q", "-b", "trunk"], ["add", "a.txt"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "a.txt").write_text("2")
    found = describe_git(tmp_path)
    assert (len(found["git_commit"]), found["git_branch"], found["git_changed_files"]) == (40, "trunk", "1")
    assert {"system", "python", "torch", "command"} <= set(describe_environment("the CPU"))


def test_a_tracker_that_is_registered_without_its_kind(
    colour_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKER_REGISTRY._entries, "own", Tracker)
    paths = ["DATA.PATH_TO_DATA_DIR", str(colour_videos), "OUTPUT_DIR", str(tmp_path)]
    with pytest.raises(ConfigError, match=r"= \['own'\]: register own as a TrackerKind\(start\)"):
        load_config("SLOW_8x8_R50", [*paths, "TRACKERS", "[own]"], for_run=True)
