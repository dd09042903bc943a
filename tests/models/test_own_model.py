"""Model classes of a user's file, written as PySlowFast's users write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fvcore.common.config import CfgNode
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from slowfast.datasets.clip import Normalization
from slowfast.distributed.world import World
from slowfast.engine.evaluator import build_evaluator
from slowfast.engine.run import run
from slowfast.errors import ConfigError, InputError, describe_error
from slowfast.interrupt import Interrupt
from slowfast.models.adapter import adapt_class
from slowfast.models.build import MODEL_REGISTRY, build_model
from slowfast.models.capabilities import FeatureModel, FrameByFrameModel, VideoModel
from slowfast.models.inference.clip_logits import compute_logits
from slowfast.models.precision import Precision
from tests.support.run_results import metrics_of
from tests.support.tiny import CLASSES, Tiny, tiny_config
from tests.support.tiny_features import TinyFeatures
from tests.support.training.steps import random_batch, step_of
from tests.support.videos import write_csv, write_video

OWN_MODEL = """
from torch import nn
from slowfast.models import MODEL_REGISTRY

@MODEL_REGISTRY.register()
class MeanColors(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.head = nn.Linear(3, cfg.MODEL.NUM_CLASSES)

    def forward(self, frames):
        return self.head(frames.mean(dim=(2, 3, 4)))
"""


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers a class under the name ``Own`` for one test."""

    def register(model_class: Any) -> None:
        monkeypatch.setitem(MODEL_REGISTRY._entries, "Own", model_class)

    return register


def config(folder: Path, *changes: Any) -> CfgNode:
    return tiny_config(folder, folder, "MODEL.MODEL_NAME", "Own", *changes)


def test_a_class_that_takes_cfg_trains_and_tests(tmp_path: Path) -> None:
    (tmp_path / "own_model.py").write_text(OWN_MODEL)
    videos = [(write_video(tmp_path / f"{i}.mp4", 12, size=(40, 40)), i % CLASSES) for i in range(4)]
    for split in ("train", "val", "test"):
        write_csv(tmp_path / f"{split}.csv", videos)
    cfg = tiny_config(
        tmp_path, tmp_path / "run", "MODEL.MODEL_NAME", "MeanColors", "SOLVER.MAX_EPOCH", 1,
        "IMPORTS", [str(tmp_path / "own_model.py")],
    )  # fmt: skip
    assert run(cfg) == 0
    assert metrics_of(tmp_path / "run", "train_iter")
    assert "top1_acc" in metrics_of(tmp_path / "run", "test_final")[0]
    checkpoint = torch.load(tmp_path / "run/checkpoints/checkpoint_epoch_00001.pyth", weights_only=False)
    assert set(checkpoint["model_state"]) == {"head.weight", "head.bias"}


class Own(nn.Module):
    """A network without the attributes of a video model."""

    def __init__(self, cfg: CfgNode, width: int = 3) -> None:
        super().__init__()
        self.head = nn.Linear(width, cfg.MODEL.NUM_CLASSES)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(frames.mean(dim=(2, 3, 4)))


def test_attributes_that_a_class_lacks_have_defaults(registered: Any, tmp_path: Path) -> None:
    registered(Own)
    model: Any = build_model(config(tmp_path, "DATA.MEAN", [0.1, 0.2, 0.3]))
    assert isinstance(model, VideoModel)
    assert isinstance(model, Own)
    assert (model.frame_mean, model.frame_std) == ((0.1, 0.2, 0.3), (0.225, 0.225, 0.225))
    assert (model.position_rate, model.num_classes) == (None, CLASSES)


def test_attributes_of_the_class_stay(registered: Any, tmp_path: Path) -> None:
    registered(type("Own", (Own,), {"frame_mean": (0.5, 0.5, 0.5), "position_rate": 25.0}))
    model: Any = build_model(config(tmp_path))
    assert (model.frame_mean, model.position_rate) == ((0.5, 0.5, 0.5), 25.0)


def test_positions_and_mask_are_passed_on_where_forward_has_them(registered: Any, tmp_path: Path) -> None:
    received: dict[str, Any] = {}

    class WithMask(Own):
        def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
            received["mask"] = mask
            return super().forward(frames)

    frames, positions = torch.zeros(2, 3, 4, 8, 8), torch.zeros(2, 4)
    mask = torch.ones(2, 4, dtype=torch.bool)
    registered(WithMask)
    assert build_model(config(tmp_path))(frames, positions, mask).shape == (2, CLASSES)
    assert received["mask"] is mask
    registered(Own)
    model = build_model(config(tmp_path))
    assert model(frames, positions, None).shape == (2, CLASSES)


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_the_last_frame_fills_up_shorter_clips_of_a_model_without_mask(lengths: list[int], seed: int) -> None:
    frames = torch.randn(len(lengths), 3, max(lengths), 2, 2, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    model = adapt_class(Own, "Own")(CfgNode({"MODEL": {"NUM_CLASSES": CLASSES}}))
    for row, logits in enumerate(model(frames, None, mask)):
        clip = frames[row, :, : lengths[row]]
        filled = torch.cat([clip, clip[:, -1:].expand(-1, max(lengths) - lengths[row], -1, -1)], dim=1)
        torch.testing.assert_close(logits, model(filled[None])[0])


def test_a_model_without_mask_trains_on_videos_of_different_lengths(
    registered: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registered(Own)
    videos = [(write_video(tmp_path / f"{i}.mp4", 3 + 6 * (i % 2), size=(40, 40)), i % 2) for i in range(4)]
    for split in ("train", "val", "test"):
        write_csv(tmp_path / f"{split}.csv", videos)
    cfg = tiny_config(tmp_path, tmp_path / "run", "MODEL.MODEL_NAME", "Own", "SOLVER.MAX_EPOCH", 1)
    assert run(cfg) == 0
    assert caplog.text.count("Own.forward does not take `mask`") == 1


@pytest.mark.parametrize("full_videos", [True, False])
def test_scores_of_a_model_without_mask_do_not_depend_on_the_batch(
    full_videos: bool, registered: Any, tmp_path: Path
) -> None:
    """Videos of 1 to 20 frames, of which an evaluation sees every frame, or clips of up to four."""
    registered(Own)
    rng = np.random.default_rng(0)
    videos = []
    for i, count in enumerate((1, 3, 5, 7, 9, 20, 7)):
        images = [np.full((40, 40, 3), rng.integers(256, size=3), np.uint8) for _ in range(count)]
        videos.append((write_video(tmp_path / f"{i}.mp4", images, fps=10), 0))
    write_csv(tmp_path / "test.csv", videos)
    found = []
    for batch_size in (1, 7):
        cfg = config(
            tmp_path, "TRAIN.EVAL_FULL_VIDEO", full_videos, "TEST.NUM_ENSEMBLE_VIEWS", 1,
            "TEST.BATCH_SIZE", batch_size, "DATA.TARGET_FPS", 10,
        )  # fmt: skip
        torch.manual_seed(0)
        evaluation = build_evaluator(cfg, "test", build_model(cfg), World(), Interrupt()).run()
        assert evaluation is not None
        found.append(evaluation.scores)
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    assert np.ptp(found[0], axis=0).min() > 0.01


def test_a_shorter_clip_is_filled_to_the_length_of_training_clips(registered: Any, tmp_path: Path) -> None:
    """As in PySlowFast, so that networks for one length accept the clips of short videos."""
    lengths = []

    class OneLength(Own):
        def forward(self, frames: Tensor) -> Tensor:
            lengths.append(frames.shape[2])
            return super().forward(frames)

    registered(OneLength)
    model = build_model(config(tmp_path, "DATA.NUM_FRAMES", 4))
    clip = torch.randn(1, 3, 3, 8, 8)
    torch.testing.assert_close(model(clip), model(torch.cat([clip, clip[:, :, 2:]], dim=2)))
    model(torch.randn(1, 3, 6, 8, 8))
    assert lengths == [4, 4, 6]


class OfPathways(Own):
    """A model whose ``forward`` takes PySlowFast's list of pathways."""

    def forward(self, x: Any, bboxes: Any = None) -> Tensor:
        return super().forward(x[0])


def test_an_error_of_a_models_own_code_keeps_its_traceback_and_has_a_hint(
    registered: Any, tmp_path: Path
) -> None:
    registered(OfPathways)
    model = build_model(config(tmp_path))
    with pytest.raises(IndexError) as caught:
        model(torch.zeros(2, 3, 4, 8, 8))
    text = describe_error(caught.value)
    assert "super().forward(x[0])" in text  # the line of the user's code
    assert "OfPathways.forward has received one tensor of shape (2, 3, 4, 8, 8)" in text.splitlines()[-1]


def test_errors_with_a_remedy_of_their_own_get_no_hint(registered: Any, tmp_path: Path) -> None:
    class Refusing(Own):
        def forward(self, frames: Tensor) -> Tensor:
            raise InputError("frames: must be larger")

    registered(Refusing)
    with pytest.raises(InputError) as caught:
        build_model(config(tmp_path))(torch.zeros(2, 3, 4, 8, 8))
    assert not hasattr(caught.value, "__notes__")


def test_arguments_that_a_subclass_passes_on_are_accepted() -> None:
    class Counting(TinyFeatures):
        def forward(self, *args: Any) -> Tensor:
            return super().forward(*args)

    assert adapt_class(Counting, "Counting") is Counting


class NeedsMore(Own):
    """A constructor that the framework cannot call."""

    def __init__(self, cfg: CfgNode, width: int) -> None:
        super().__init__(cfg, width)


class NeedsBoxes(Own):
    """A forward that the framework cannot call."""

    def forward(self, frames: Tensor, boxes: Tensor) -> Tensor:
        return super().forward(frames)


class WithoutFetchWeights(Own):
    """A class method that the framework cannot call."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Any:
        return cls(cfg)


class BuildsNothing(Own):
    """A class method without `return`."""

    @classmethod
    def from_config(cls, cfg: CfgNode, **options: Any) -> Any:
        cls(cfg)


class WithoutForward(nn.Module):
    """A class that lacks ``forward``."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("model_class", "remedy"),
    [
        (NeedsMore, r"add `def __init__\(self, cfg\)` or the class method"),
        (nn.Identity, r"add `def __init__\(self, cfg\)` or the class method"),
        (WithoutFetchWeights, r".*or the class method `from_config\(cls, cfg, \*, fetch_weights\)`"),
        (BuildsNothing, "from_config must return the model"),
        (NeedsBoxes, r"add `def forward\(self, frames\)`"),
        (WithoutForward, r"add `def forward\(self, frames\)`"),
        (lambda cfg: Own(cfg), "register a subclass of torch.nn.Module"),
    ],
)
def test_other_classes_are_refused_with_what_to_add(
    registered: Any, tmp_path: Path, model_class: Any, remedy: str
) -> None:
    registered(model_class)
    with pytest.raises(ConfigError, match=rf"MODEL.MODEL_NAME = 'Own': must be a class .*; {remedy}"):
        build_model(config(tmp_path))


@pytest.mark.parametrize(
    ("change", "returned"),
    [
        (lambda logits: (logits, logits), "a value of type tuple"),
        (lambda logits: None, "None"),
        (lambda logits: logits[:, :2], r"a tensor of shape \(2, 2\)"),
        (lambda logits: logits.repeat(1, 2), r"a tensor of shape \(2, 6\)"),
        (lambda logits: logits[:, None], r"a tensor of shape \(2, 1, 3\)"),
        (lambda logits: logits.flatten(), r"a tensor of shape \(6,\)"),
    ],
)
def test_other_results_than_logits_are_refused(change: Any, returned: str) -> None:
    model = Tiny()
    original = model.forward
    model.forward = lambda *given: change(original(*given))  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=rf"Tiny must return .* here \(2, 3\), and has returned {returned}"):
        step_of(model)(random_batch(2), 0.1)
    with pytest.raises(ConfigError, match=rf"Tiny must return .* here \(2, 3\), and has returned {returned}"):
        compute_logits(
            model.eval(),
            random_batch(2),
            normalization=Normalization((0.5,) * 3, (0.5,) * 3),
            precision=Precision(),
        )


def test_a_class_with_all_arguments_is_used_as_it_is() -> None:
    assert adapt_class(TinyFeatures, "TinyFeatures") is TinyFeatures


def test_capabilities_are_found_by_attributes() -> None:
    model: Any = TinyFeatures()
    assert isinstance(model, FrameByFrameModel)
    assert isinstance(model, FeatureModel)
    assert not isinstance(nn.Linear(1, 1), VideoModel)
