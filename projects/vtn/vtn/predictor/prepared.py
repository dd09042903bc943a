"""A model made ready for predictions: on its device, with the views of its test and their scorer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from slowfast.distributed.device import choose_device
from slowfast.errors import InputError, first_line
from slowfast.models.frame_encoder import FrameEncoder
from slowfast.models.frame_format import own_normalization
from slowfast.models.precision import choose_precision
from vtn.arguments.evaluation import build_evaluation_config
from vtn.exported.model import ExportedModel
from vtn.frame_model import FrameModel
from vtn.inference.extract import build_frame_view
from vtn.predictor.reading.feature_pass import FeaturePass
from vtn.predictor.scoring import ClipScorer
from vtn.predictor.texts import safe_names
from vtn.predictor.views import build_view_plan


class PreparedModel:
    """The base of :class:`vtn.Predictor`: a model with all that turns videos into its scores.

    Args:
        model: with ``evaluation``, see :mod:`vtn.arguments.evaluation`; moved to the device and set to
            evaluation mode.
        name: of the model, for messages.
        device, precision, views, fps: see :class:`vtn.Predictor`.

    Attributes:
        model: in evaluation mode on its device.
        class_names: K names that are safe to show.

    Raises:
        ConfigError, InputError: for a model without a usable evaluation, and unsuitable arguments.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        *,
        device: str | torch.device | None,
        precision: str,
        views: tuple[int, int] | None,
        fps: float | None,
    ) -> None:
        if isinstance(model, ExportedModel) and precision != "float32":
            raise InputError(f"precision = {precision!r}: must be float32 for an exported model")
        cfg = build_evaluation_config(model.evaluation, model, source=name)
        place = _move(model, device)
        self.model, self._cfg = model.eval(), cfg
        self.class_names = safe_names(model.class_names, model.num_classes)
        self._plan = plan = build_view_plan(cfg, model, views=views, fps=fps)
        try:
            chosen = choose_precision(precision, place)
        except ValueError as error:
            raise InputError(f"precision = {precision!r}: {error}; use float16 or float32") from error
        encoder = FrameEncoder(model, own_normalization(model), place, chosen)
        # Views come in the order of channels that the model takes, other frames in RGB.
        view = build_frame_view(cfg, model, fps)
        self._features = FeaturePass(replace(encoder, channels=plan.channels), plan, view)
        self._scorer = ClipScorer(model, encoder, cfg.MODEL.HEAD_ACT)

    @property
    def score_activation(self) -> str:
        """Name of the function from logits to scores, which an exported model applies itself."""
        if isinstance(self.model, ExportedModel):
            return self.model.description.score_activation
        return self._scorer.head_act

    def _check_mode(self) -> None:
        """Raises ``InputError`` for a model that a program has set to training mode again."""
        if self.model.training:
            raise InputError(
                "the model is in training mode, in which its scores are random; call model.eval() first"
            )


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
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(
            f"device = {device!r}: {first_line(error)}; give cpu, or a GPU such as cuda:0"
        ) from None
    return place
