"""A model made ready for predictions: on its device, with the views of its test and their scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from fvcore.common.config import CfgNode

from slowfast.distributed.device import choose_device
from slowfast.errors import InputError, first_line
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.frame_format import own_normalization
from slowfast.models.precision import DTYPES, Precision
from vtn.arguments.evaluation import build_evaluation_config
from vtn.exported.model import ExportedModel
from vtn.frame_model import FrameModel
from vtn.inference.extract import build_frame_view
from vtn.predictor.reading.feature_pass import FeaturePass
from vtn.predictor.scoring import ClipScorer
from vtn.predictor.texts import safe_names
from vtn.predictor.views import ViewPlan, build_view_plan


@dataclass(frozen=True)
class PreparedModel:
    """A model with all that turns videos into its scores.

    Attributes:
        model: in evaluation mode on its device.
        class_names: K names that are safe to show.
        cfg: the configuration of its evaluation.
        plan: reads the views of a video.
        features: computes the features of a video.
        scorer: scores views.
    """

    model: Any
    class_names: Sequence[str]
    cfg: CfgNode
    plan: ViewPlan
    features: FeaturePass
    scorer: ClipScorer


def prepare_model(
    model: Any,
    name: str,
    *,
    device: str | torch.device | None,
    precision: str,
    views: tuple[int, int] | None,
    fps: float | None,
) -> PreparedModel:
    """Moves a model to a device, sets it to evaluation mode, and plans the views of videos.

    Args:
        model: with ``evaluation``, see :mod:`vtn.arguments.evaluation`.
        name: of the model, for messages.
        device, precision, views, fps: see :class:`vtn.predictor.predictor.Predictor`.

    Raises:
        ConfigError, InputError: for a model without a usable evaluation, and unsuitable arguments.
    """
    if isinstance(model, ExportedModel) and precision != "float32":
        raise InputError(f"precision = {precision!r}: must be float32 for an exported model")
    cfg = build_evaluation_config(model.evaluation, model, source=name)
    place = _move(model, device)
    model.eval()
    class_names = safe_names(model.class_names, model.num_classes)
    plan = build_view_plan(cfg, model, views=views, fps=fps)
    normalization = own_normalization(model)
    encoder = FrameEncoder(model, normalization, place, Precision(place.type, DTYPES[precision]))
    # Views come in the order of channels that the model takes, other frames in RGB.
    view = build_frame_view(cfg, model, fps)
    features = FeaturePass(replace(encoder, channels=plan.channels), plan, view)
    scorer = ClipScorer(model, encoder, cfg.MODEL.HEAD_ACT)
    return PreparedModel(model, class_names, cfg, plan, features, scorer)


def _move(model: FrameModel | ExportedModel, device: str | torch.device | None) -> torch.device:
    """Moves a model to a device, None: a GPU where there is one, and returns the device.

    An exported model stays on the CPU.

    Raises:
        InputError: for a device that does not exist here.
    """
    try:
        num_gpus = 0 if isinstance(model, ExportedModel) else 1
        place = torch.device(device) if device else choose_device(num_gpus)
        model.to(place)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device = {device!r}: {first_line(error)}; give cpu, or a GPU such as cuda:0"
        ) from None
    return place
