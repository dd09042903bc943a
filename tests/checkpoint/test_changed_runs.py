"""Runs that are resumed with another configuration, data set or model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slowfast.checkpoint.restore import restore, restore_average, restore_optimizer
from slowfast.checkpoint.state import TrainingProgress, TrainingState, fingerprint
from slowfast.checkpoint.storage import last_checkpoint, read_checkpoint, read_training_state
from slowfast.datasets.annotations import PathTable
from slowfast.engine.run import run
from slowfast.errors import CheckpointError
from slowfast.models.build import MODEL_REGISTRY
from slowfast.solver.ema import WeightAverage
from tests.support.run_results import NO_DROPOUT_OR_TEST, log_of, metrics_of
from tests.support.tiny import CLASSES, Tiny, tiny_config


@pytest.mark.parametrize(
    ("key", "value", "difference"),
    [
        ("RNG_SEED", 2, "RNG_SEED: 1 → 2"),
        ("SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.OPTIMIZING_METHOD: 'sgd' → 'adamw'"),
        ("DATA.NUM_FRAMES", 3, "DATA.NUM_FRAMES: 4 → 3"),
        ("MODEL.MODEL_NAME", "WiderTiny", "MODEL.MODEL_NAME: 'Tiny' → 'WiderTiny'"),
        ("VTN.LONGFORMER.POSITION", "sinusoidal", "VTN.LONGFORMER.POSITION: 'learned' → 'sinusoidal'"),
    ],
)
def test_changes_that_make_another_run_are_refused(
    colour_videos: Path, stopped: Path, key: str, value: Any, difference: str
) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be resumed with .*TRAIN\.FORCE_RESUME") as caught:
        run(tiny_config(colour_videos, stopped, *NO_DROPOUT_OR_TEST, key, value))
    assert difference in str(caught.value)


def test_another_number_of_classes_cannot_be_forced(
    colour_videos: Path, stopped: Path, tmp_path: Path
) -> None:
    """The weights of the last layer would not fit, so that the remedy would be another error."""
    for split in ("train", "val"):  # as for a list with another class
        lines = (colour_videos / f"{split}.csv").read_text().splitlines()
        (tmp_path / f"{split}.csv").write_text("\n".join(lines[1:]) + "\n")
    for data in (colour_videos, tmp_path):
        with pytest.raises(CheckpointError, match=r"cannot be .* MODEL\.NUM_CLASSES: \d → 5") as caught:
            run(tiny_config(data, stopped, *NO_DROPOUT_OR_TEST, "MODEL.NUM_CLASSES", 5))
        assert "TRAIN.CHECKPOINT_RESET_HEAD True to start from its weights" in str(caught.value)
        assert "FORCE_RESUME" not in str(caught.value)


def test_changes_of_the_training_are_logged_and_take_effect(colour_videos: Path, stopped: Path) -> None:
    changes = ("SOLVER.WEIGHT_DECAY", 0.3, "MODEL.DROPOUT_RATE", 0.1, "SOLVER.MAX_EPOCH", 1)
    changes = (*changes, "MATMUL_PRECISION", "highest")
    assert run(tiny_config(colour_videos, stopped, "TEST.ENABLE", False, *changes)) == 0
    log = log_of(stopped)
    for difference in (
        "SOLVER.WEIGHT_DECAY: 0.0001 → 0.3",
        "MODEL.DROPOUT_RATE: 0.0 → 0.1",
        "MATMUL_PRECISION: 'high' → 'highest'",
    ):
        assert f"changed since the checkpoint: {difference}" in log
    end = read_training_state(stopped / "checkpoints" / "checkpoint_epoch_00001.pyth")
    assert [group["weight_decay"] for group in end.optimizer_state["param_groups"]] == [0.3]


def test_optimizer_states_are_restored_by_the_names_of_the_parameters(
    colour_videos: Path, stopped: Path
) -> None:
    """Biases without weight decay are a second group, which changes the order of the parameters."""
    path = stopped / "checkpoints" / "checkpoint_epoch_00000_step_000002.pyth"
    changes = ("SOLVER.ZERO_WD_1D_PARAM", True, "SOLVER.BASE_LR", 1e-12, "SOLVER.MOMENTUM", 0.999)
    assert run(tiny_config(colour_videos, stopped, *NO_DROPOUT_OR_TEST, *changes, "TRAIN.MAX_STEPS", 3)) == 0
    after = path.with_name("checkpoint_epoch_00000_step_000003.pyth")
    one, other = (read_checkpoint(p)["optimizer_state"] for p in (path, after))
    assert [len(state["param_groups"]) for state in (one, other)] == [1, 2]
    momenta = [
        {
            name: state["state"][number]["momentum_buffer"]
            for group in state["param_groups"]
            for name, number in zip(group["param_names"], group["params"], strict=True)
        }
        for state in (one, other)
    ]
    assert list(momenta[0]) != list(momenta[1])
    assert {name: m.shape for name, m in momenta[0].items()} == {n: m.shape for n, m in momenta[1].items()}


def test_a_forced_run_restores_the_fitting_part_and_logs_the_rest(colour_videos: Path, stopped: Path) -> None:
    changes = ("SOLVER.OPTIMIZING_METHOD", "adamw", "RNG_SEED", 2, "SOLVER.MAX_EPOCH", 1)
    assert (
        run(tiny_config(colour_videos, stopped, *NO_DROPOUT_OR_TEST, *changes, "TRAIN.FORCE_RESUME", True))
        == 0
    )
    log = log_of(stopped)
    assert "only the fitting part of its optimiser state is loaded (it is not a state of AdamW)" in log
    assert "step 2 of epoch 1 is not valid in the changed run: epoch 1 restarts" in log
    assert [line["iter"] for line in metrics_of(stopped, "train_iter")] == [1, 2, 1, 2, 3, 4, 5, 6]


def test_a_forced_run_that_restarted_its_epoch_resumes_from_its_new_checkpoint(
    colour_videos: Path, stopped: Path
) -> None:
    changed = (*NO_DROPOUT_OR_TEST, "RNG_SEED", 2)
    forced = ("TRAIN.FORCE_RESUME", True, "TRAIN.MAX_STEPS", 1)
    assert run(tiny_config(colour_videos, stopped, *changed, *forced)) == 0
    assert run(tiny_config(colour_videos, stopped, *changed, "TRAIN.MAX_STEPS", 3)) == 0
    assert [line["iter"] for line in metrics_of(stopped, "train_iter")] == [1, 2, 1, 2, 3]


@MODEL_REGISTRY.register("WiderTiny")
class WiderTiny(Tiny):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.hidden, self.head = nn.Linear(48, 20), nn.Linear(20, CLASSES)


def test_a_checkpoint_of_another_architecture_is_refused_even_when_forced(
    colour_videos: Path, stopped: Path
) -> None:
    options = (*NO_DROPOUT_OR_TEST, "MODEL.MODEL_NAME", "WiderTiny", "TRAIN.FORCE_RESUME", True)
    with pytest.raises(
        CheckpointError, match=r"(?s)hidden.weight is \(16, 48\), .* of another model; restore"
    ):
        run(tiny_config(colour_videos, stopped, *options))


def test_other_segments_of_the_same_files_are_another_list() -> None:
    def digest(*segments: tuple[float, float]) -> str:
        paths = PathTable.from_strings(["a.mp4", "b.mp4"])
        bounds = np.array(segments) if segments else None
        return fingerprint(SimpleNamespace(labels=np.zeros(2), paths=paths, segments=bounds))

    digests = {digest(), digest((0, 1), (0, 1)), digest((0, 1), (0, 2))}
    assert len(digests) == 3


def test_a_run_from_the_state_in_a_file_starts_at_the_beginning_of_its_epoch(
    colour_videos: Path, stopped: Path
) -> None:
    path, output = last_checkpoint(stopped), stopped / "other"
    options = (*NO_DROPOUT_OR_TEST, "TRAIN.CHECKPOINT_FILE_PATH", str(path), "TRAIN.MAX_STEPS", 1)
    assert run(tiny_config(colour_videos, output, *options)) == 0
    assert f"started from {path} (step 2 of epoch 1) at the start of epoch 1" in log_of(output)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_scale_of_losses_is_restored_where_this_run_has_one(enabled: bool) -> None:
    model, saved = Tiny(), torch.amp.GradScaler("cpu", init_scale=64.0)
    names = [name for name, _ in model.named_parameters()]
    optimizer = torch.optim.SGD([{"params": list(model.parameters()), "param_names": names}])
    run = SimpleNamespace(
        model=model, optimizer=optimizer, scaler=torch.amp.GradScaler("cpu", enabled=enabled), average=None
    )
    state = TrainingState(
        TrainingProgress(1), model.state_dict(), optimizer.state_dict(), scaler_state=saved.state_dict()
    )
    restore(run, state, source=Path("checkpoint.pyth"))
    assert run.scaler.get_scale() == (64.0 if enabled else 1.0)


@pytest.mark.parametrize(("shapes", "loaded"), [([(2,), (5,)], [0]), ([(2,)], [])])
def test_forced_states_are_loaded_where_their_parameters_are_certain(
    shapes: list[tuple[int, ...]], loaded: list[int]
) -> None:
    """Without names, as in PySlowFast's files, parameters are told by their order alone."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))]
    optimizer = torch.optim.SGD([{"params": parameters, "param_names": ["a", "b"]}], momentum=0.9)
    saved = {
        "state": {number: {"momentum_buffer": torch.ones(shape)} for number, shape in enumerate(shapes)},
        "param_groups": [{**optimizer.defaults, "params": [*range(len(shapes))]}],
    }
    restore_optimizer(optimizer, saved, source=Path("checkpoint.pyth"), forced=True)
    assert list(optimizer.state_dict()["state"]) == loaded


class SignOfMean(torch.optim.Optimizer):
    """An adaptive optimiser with another state than Adam's."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {"lr": 0.1, "betas": (0.9, 0.99)})

    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["mean"] = parameter.grad.clone()


@pytest.mark.parametrize("kind", [torch.optim.Adafactor, SignOfMean])
def test_states_of_registered_optimizers_may_have_any_shapes_and_names(kind: Any) -> None:
    """Adafactor, for example, has sums of the rows and columns of a matrix."""
    states = []
    for saved in (None, states):
        parameter = nn.Parameter(torch.ones(3, 4))
        optimizer = kind([{"params": [("a", parameter)]}])
        if saved is None:
            parameter.grad = torch.arange(12.0).view(3, 4)
            optimizer.step()
        else:
            restore_optimizer(optimizer, saved[0], source=Path("checkpoint.pyth"), forced=False)
        states.append(optimizer.state_dict())
    before, after = (state["state"][0] for state in states)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


class Growing(nn.Linear):
    """A layer that takes the weights of one with fewer inputs."""

    def adapt_weight(self, name: str, weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        return nn.functional.pad(weight, (0, shape[1] - weight.shape[1]))


def test_states_of_weights_that_were_adapted_to_another_shape_are_not_loaded() -> None:
    runs = []
    for width in (2, 3):
        model = Growing(width, 1)
        optimizer = torch.optim.SGD([{"params": [*model.named_parameters()]}], momentum=0.9)
        model(torch.ones(1, width)).sum().backward()
        runs.append(SimpleNamespace(model=model, optimizer=optimizer, average=None))
    runs[0].optimizer.step()
    state = TrainingState(TrainingProgress(1), runs[0].model.state_dict(), runs[0].optimizer.state_dict())
    source = Path("checkpoint.pyth")
    with pytest.raises(CheckpointError, match=r"does not fit \(the shapes of weight differ\)"):
        restore(runs[1], state, source=source)
    restore(runs[1], state, source=source, forced=True)
    assert list(runs[1].optimizer.state_dict()["state"]) == [1]  # that of the bias


def test_an_average_that_the_file_lacks_starts_with_the_restored_weights() -> None:
    model = Tiny()
    average = WeightAverage(model, decay=0.9)
    nn.init.constant_(model.head.weight, 5.0)
    restore_average(average, {}, source=Path("checkpoint.pyth"))
    assert (average.state_dict()["weights"]["head.weight"] == 5.0).all()


@pytest.mark.parametrize(
    ("saved_by", "kind", "is_loaded"),
    [
        ("SGD", "RMSprop", False),
        ("SGD", "Adafactor", False),
        ("RMSprop", "SGD", False),
        ("Adafactor", "RMSprop", False),
        ("Adam", "NAdam", False),
        ("Adam", "Adamax", False),
        ("Adamax", "AdamW", False),
        ("Adam", "AdamW", True),
    ],
)
def test_states_of_another_optimizer_are_not_loaded(saved_by: str, kind: str, is_loaded: bool) -> None:
    """They would be used under other names, or the first step would end with a ``KeyError``."""
    parameter = nn.Parameter(torch.ones(3, 4))
    parameter.grad = torch.arange(12.0).view(3, 4)
    arguments = {"SGD": {"momentum": 0.9}}
    first, second = (
        getattr(torch.optim, name)([{"params": [("a", parameter)]}], lr=0.1, **arguments.get(name, {}))
        for name in (saved_by, kind)
    )
    first.step()
    restore_optimizer(second, first.state_dict(), source=Path("checkpoint.pyth"), forced=True)
    assert bool(second.state_dict()["state"]) == is_loaded
    second.step()
