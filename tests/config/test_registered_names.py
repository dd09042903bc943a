"""Config keys that name a registered component: built-in ones, a user's own through IMPORTS, unknown ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from slowfast.config import load_config
from slowfast.datasets.build import DATASET_REGISTRY
from slowfast.errors import ConfigError
from slowfast.models.build import MODEL_REGISTRY
from slowfast.models.losses import LOSS_REGISTRY, cross_entropy
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from slowfast.registry import REGISTRY_OF_KEY, registry_of
from slowfast.solver import build_lr_policy, build_optimizer
from tests.support.configs import problems_of

NO_WARMUP = ["SOLVER.WARMUP_EPOCHS", "0"]
USER_FILE = """
import torch
from slowfast.datasets.loading.samplers import SAMPLER_REGISTRY, TrainSampler
from slowfast.models.losses import LOSS_REGISTRY
from slowfast.models.objective.class_weights import CLASS_WEIGHT_REGISTRY
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from slowfast.solver.lr_policy import LR_POLICY_REGISTRY
from slowfast.solver.optimizer import OPTIMIZER_REGISTRY
from slowfast.tracking.tracker import TRACKER_REGISTRY, TrackerKind

NAME = "of_{name}"


@LR_POLICY_REGISTRY.register(NAME)
def build_halving(cfg):
    return lambda epoch: cfg.SOLVER.BASE_LR * 0.5**epoch


@OPTIMIZER_REGISTRY.register(NAME)
def build_adagrad(cfg, groups):
    return torch.optim.Adagrad(groups, lr=cfg.SOLVER.BASE_LR)


@LOSS_REGISTRY.register(NAME, labels="values", each=lambda logits, labels: (logits - labels).square())
def squared_error(logits, labels):
    return (logits - labels).square().mean()


@SCORE_ACTIVATION_REGISTRY.register(NAME)
def exponential(logits):
    return logits.exp()


@CLASS_WEIGHT_REGISTRY.register(NAME)
def root(counts):
    return counts**-0.5


SAMPLER_REGISTRY.register(NAME)(TrainSampler)
TRACKER_REGISTRY.register(NAME)(TrackerKind(print))
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Iterator[Path]:
    """Writes a file that registers a component of each kind under ``of_`` and the file's name."""
    path = tmp_path / f"components_{tmp_path.name}.py"
    path.write_text(USER_FILE.format(name=path.stem))
    folders = list(sys.path)
    yield path
    sys.path[:] = folders
    sys.modules.pop(path.stem, None)
    for key in REGISTRY_OF_KEY:
        registry_of(key)._entries.pop(f"of_{path.stem}", None)


def load_with(path: Path, *overrides: str) -> Any:
    return load_config("SLOW_8x8_R50", ["IMPORTS", str([str(path)]), *overrides])


def problem_with(path: Path, *overrides: str) -> str:
    (problem,) = problems_of("SLOW_8x8_R50", "IMPORTS", str([str(path)]), *overrides)
    return problem


def test_a_users_components_are_accepted_and_used(user_file: Path) -> None:
    name = f"of_{user_file.stem}"
    values = {key: f"[{name}]" if key == "TRACKERS" else name for key in REGISTRY_OF_KEY}
    overrides = [text for pair in values.items() for text in pair]
    cfg = load_with(user_file, *overrides, "MIXUP.ENABLE", "True", "SOLVER.BASE_LR", "0.8", *NO_WARMUP)
    assert build_lr_policy(cfg, scale=2.0)(1.0) == pytest.approx(0.8)
    optimizer = build_optimizer(cfg, torch.nn.Linear(2, 2))
    assert type(optimizer) is torch.optim.Adagrad
    assert optimizer.param_groups[0]["weight_decay"] == cfg.SOLVER.WEIGHT_DECAY
    assert LOSS_REGISTRY.get(name)(torch.ones(2, 3), torch.zeros(2, 3)).item() == 1.0
    assert SCORE_ACTIVATION_REGISTRY.get(name)(torch.zeros(1)).item() == 1.0


def test_a_users_loss_states_the_labels_that_it_takes(user_file: Path) -> None:
    loss = ["MODEL.LOSS_FUNC", f"of_{user_file.stem}"]
    with pytest.raises(ConfigError, match=r"MODEL.LOSS_FUNC .*must take class indices.*MIXUP.ENABLE True"):
        load_with(user_file, *loss)
    assert load_with(user_file, *loss, "DATA.MULTI_LABEL", "True")


@pytest.mark.parametrize(
    ("key", "written", "hint"),
    [
        ("SOLVER.LR_POLICY", "cosin", "did you mean cosine?"),
        ("SOLVER.OPTIMIZING_METHOD", "adam_w", "did you mean adamw"),
        ("MODEL.LOSS_FUNC", "cross_entropie", "did you mean cross_entropy"),
        ("MODEL.HEAD_ACT", "soft_max", "did you mean softmax"),
        ("DATA_LOADER.TRAIN_SAMPLER", "shuffled", "did you mean shuffle?"),
        ("SOLVER.LR_POLICY", "xyz", "choose one of cosine, steps_with_relative_lrs"),
    ],
)
def test_an_unknown_name_gets_the_nearest_names(key: str, written: str, hint: str) -> None:
    (problem,) = problems_of("SLOW_8x8_R50", key, written)
    assert problem.startswith(f"{key} (override) = {written!r}: must be a registered ")
    assert hint in problem


@pytest.mark.parametrize(
    ("registry", "component", "call"),
    [
        ("solver.lr_policy:LR_POLICY_REGISTRY", "def own(cfg, epoch): ...", "own(cfg)"),
        ("solver.optimizer:OPTIMIZER_REGISTRY", "def own(cfg): ...", "own(cfg, groups)"),
        ("models.losses:LOSS_REGISTRY", "def own(logits): ...", "own(logits, labels, **LOSS.ARGS)"),
        (
            "models.losses:LOSS_REGISTRY",
            "class own:\n    def __init__(self, a=0, b=0): ...",
            "register an object",
        ),
        ("datasets:DATASET_REGISTRY", "def own(cfg): ...", "own(cfg, split)"),
        ("models.score_activations:SCORE_ACTIVATION_REGISTRY", "own = 3", "own(logits)"),
        (
            "datasets.loading.samplers:SAMPLER_REGISTRY",
            "def own(dataset, global_batch, rank, world_size, seed): ...",
            "own(dataset, global_batch, rank=, world_size=, seed=, repeats=)",
        ),
    ],
)
def test_a_component_that_cannot_be_called_is_refused_with_its_file_and_the_call(
    registry: str, component: str, call: str, user_file: Path
) -> None:
    module, name = registry.split(":")
    lines = [f"from slowfast.{module} import {name}", component, f"{name}.register('own')(own)"]
    user_file.write_text("\n".join(lines))
    problem = problem_with(user_file)
    assert f"in {user_file}, line {len(component.splitlines()) + 2}" in problem
    assert call in problem


def test_a_schedule_that_returns_a_number_is_refused(user_file: Path) -> None:
    name = f"of_{user_file.stem}"
    user_file.write_text(
        "from slowfast.solver.lr_policy import LR_POLICY_REGISTRY\n"
        f"LR_POLICY_REGISTRY.register('{name}')(lambda cfg: 0.1)\n"
    )
    cfg = load_with(user_file, "SOLVER.LR_POLICY", name)
    with pytest.raises(ConfigError, match=f"{name}': must return a function .* and has returned 0.1"):
        build_lr_policy(cfg)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("None", "over the groups that it is given, with the lr_scale of each, and has returned NoneType$"),
        (
            "torch.optim.SGD([one for group in groups for _, one in group['params']])",
            "has returned SGD without it",
        ),
        ("torch.optim.LBFGS(groups)", "whose step.. can be called without a closure, and has returned LBFGS"),
    ],
)
def test_an_optimiser_that_cannot_be_stepped_is_refused(user_file: Path, result: str, message: str) -> None:
    name = f"of_{user_file.stem}"
    user_file.write_text(
        "import torch\nfrom slowfast.solver.optimizer import OPTIMIZER_REGISTRY\n"
        f"@OPTIMIZER_REGISTRY.register('{name}')\ndef own(cfg, groups):\n    return {result}\n"
    )
    cfg = load_with(user_file, "SOLVER.OPTIMIZING_METHOD", name)
    with pytest.raises(ConfigError, match=f"{name}': must return an? .*{message}"):
        build_optimizer(cfg, torch.nn.Linear(2, 2))


def test_keyword_only_parameters_of_a_loss_may_be_required(user_file: Path) -> None:
    user_file.write_text(
        "from slowfast.models.losses import LOSS_REGISTRY\n"
        f"@LOSS_REGISTRY.register('of_{user_file.stem}')\ndef own(logits, labels, *, gamma): ...\n"
    )
    assert load_with(user_file, "MODEL.LOSS_FUNC", f"of_{user_file.stem}", "LOSS.ARGS.gamma", "2")


def test_a_module_that_fails_is_the_only_problem(user_file: Path) -> None:
    """The name that the module would have registered is not reported as unknown."""
    user_file.write_text("import slowfast\nraise RuntimeError('no GPU')\n")
    problem = problem_with(user_file, "MODEL.LOSS_FUNC", "of_this_file")
    assert f"cannot be imported in {user_file}, line 2 (RuntimeError: no GPU)" in problem


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """Writes lists of videos; returns the overrides by which a run finds them."""
    for name in ("train.csv", "val.csv", "test.csv"):
        (tmp_path / name).write_text("a.mp4 0\n")
    return ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "OUTPUT_DIR", str(tmp_path / "output")]


@pytest.mark.parametrize("key", ["MODEL.MODEL_NAME", "TRAIN.DATASET", "TEST.DATASET"])
def test_a_run_is_refused_for_an_unknown_model_or_data_set(key: str, places: list[str]) -> None:
    written = "kinetcs" if "DATASET" in key else "PTVResnet"
    (problem,) = problems_of("SLOW_8x8_R50", *places, key, written, for_run=True)
    assert problem.startswith(f"{key} (override) = ")
    assert ("did you mean kinetics" if "DATASET" in key else "did you mean PTVResNet") in problem


@pytest.mark.parametrize(
    ("key", "written", "remedy"),
    [
        ("TRAIN.DATASET", "charades", "use kinetics with DATA.MULTI_LABEL True"),
        ("TEST.DATASET", "Charades", "use kinetics with DATA.MULTI_LABEL True"),
        ("TRAIN.DATASET", "ava", "detection (AVA) is not supported"),
        ("MODEL.MODEL_NAME", "MViT", "PTVMViT is MViT version 1, and version 2 is not available"),
        ("TRAIN.DATASET", "Ptvkinetics", "use kinetics, which reads the same lists"),
        ("TRAIN.DATASET", "ptvcharades", "use kinetics with DATA.MULTI_LABEL True"),
        ("TEST.DATASET", "ptvssv2", "use ssv2, which reads the same files"),
        ("TEST.DATASET", "imagenet", "data sets of images are not supported"),
        ("MODEL.MODEL_NAME", "MaskMViT", "training without labels is not supported"),
        ("MODEL.MODEL_NAME", "ContrastiveModel", "training without labels is not supported"),
        ("MODEL.MODEL_NAME", "PTVCSN", "use PTVX3D, whose convolutions are channel-separated as well"),
        ("MODEL.MODEL_NAME", "PTVR2plus1D", "use PTVResNet with MODEL.ARCH i3d"),
        ("MODEL.LOSS_FUNC", "bce", "with DATA.MULTI_LABEL True use bce_logit"),
        ("MODEL.LOSS_FUNC", "mse", "use cross_entropy or soft_cross_entropy"),
        ("MODEL.LOSS_FUNC", "multi_mse", "training without labels is not supported"),
        ("MODEL.LOSS_FUNC", "contrastive_loss", "training without labels is not supported"),
        ("SOLVER.OPTIMIZING_METHOD", "mt_adamw", "use adamw, which updates all weights together"),
    ],
)
def test_a_name_of_pyslowfast_gets_what_takes_its_place(
    key: str, written: str, remedy: str, places: list[str]
) -> None:
    (problem,) = problems_of("SLOW_8x8_R50", *places, key, written, for_run=True)
    assert problem.startswith(f"{key} (override) = {written!r}: must be a registered ")
    assert remedy in problem
    assert "did you mean" not in problem


def test_the_data_set_of_a_part_that_is_switched_off_is_not_checked(places: list[str]) -> None:
    off = ("TEST.DATASET", "xyz", "TEST.ENABLE", "False")
    assert load_config("SLOW_8x8_R50", [*places, *off], for_run=True)


def test_a_users_model_and_data_set_are_known_to_the_check_of_a_run(
    tmp_path: Path, places: list[str]
) -> None:
    path = tmp_path / f"run_components_{tmp_path.name}.py"
    path.write_text(
        "import torch\n"
        "from slowfast.datasets.build import DATASET_REGISTRY\n"
        "from slowfast.models.build import MODEL_REGISTRY\n"
        "MODEL_REGISTRY.register('MyNetwork')(torch.nn.Identity)\n"
        "DATASET_REGISTRY.register('my_videos')(lambda cfg, split: None)\n"
    )
    names = ("MODEL.MODEL_NAME", "MyNetwork", "TRAIN.DATASET", "my_videos", "TEST.DATASET", "my_videos")
    assert len(problems_of("SLOW_8x8_R50", *places, *names, for_run=True)) == 3
    try:
        assert load_config("SLOW_8x8_R50", [*places, *names, "IMPORTS", str([str(path)])], for_run=True)
    finally:
        MODEL_REGISTRY._entries.pop("MyNetwork")
        DATASET_REGISTRY._entries.pop("my_videos")
        sys.modules.pop(path.stem)
        sys.path.remove(str(tmp_path))


def test_a_loss_of_class_indices_is_the_default() -> None:
    loss = lambda logits, labels: cross_entropy(logits, labels)  # noqa: E731
    try:
        LOSS_REGISTRY.register("of_indices")(loss)
        assert LOSS_REGISTRY.forms_of("of_indices").labels == "indices"
    finally:
        LOSS_REGISTRY._entries.pop("of_indices")


def test_the_built_in_names_are_known_without_torch() -> None:
    code = (
        "import sys\nfrom slowfast.config import load_config\n"
        "cfg = load_config('VIT_B_VTN')\nassert cfg.SOLVER.LR_POLICY == 'steps_with_relative_lrs'\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
