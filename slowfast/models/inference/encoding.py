"""The choice of how a model computes features without gradients, and its log line.

T frames, H W pixels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from slowfast.errors import ConfigError, ModelError, first_line
from slowfast.log import get_logger
from slowfast.models.capabilities import EncodingSetup, PreparesEncoding, PreparesFrozenEncoding, clip_grid_of
from slowfast.models.inference.processor import has_bfloat16
from slowfast.models.precision import DTYPES, choose_precision

logger = get_logger(__name__)

MAX_ERROR = 0.05
"""Largest distance of 16-bit features from those of float32 that ``auto`` accepts, relative to their norm."""

EXACT_LAYERS = (0.0, 1 / 24, 1 / 12)
"""Fractions of the layers, from the first on, that stay in float32; the first within ``MAX_ERROR`` is used.

In many convolutional networks most of the error comes from the first few layers: their weights and inputs
nearly cancel out, and 16 bits round the difference.
"""

COMPILE_SECONDS = 1200.0
"""Expected seconds of work from which ``auto`` compiles the network."""

_TRIAL_FRAMES = 8
# A trial that takes less is repeated with more frames.
_SHORT_SECONDS, _REPEATS = 0.1, 8


@dataclass(frozen=True)
class EncodingRequest:
    """The wanted way of computing features.

    Attributes:
        precision: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 where the device has
            instructions for it and the features stay within ``MAX_ERROR`` of those of float32, if necessary
            with the first layers in float32 (``EXACT_LAYERS``), else float32.
        compile: ``on``, ``off``, or ``auto``: where the work takes ``COMPILE_SECONDS`` or longer.
    """

    precision: str = "auto"
    compile: str = "auto"

    @classmethod
    def from_config(cls, cfg: CfgNode, device: torch.device) -> EncodingRequest:
        """Returns the request that the section ``INFERENCE`` of a configuration describes.

        Raises:
            ConfigError: for bfloat16 on a device that only emulates it, which takes longer than float32.
        """
        if cfg.INFERENCE.PRECISION == "bfloat16":
            try:
                choose_precision("bfloat16", device)
            except ValueError as error:
                raise ConfigError(
                    f"INFERENCE.PRECISION = 'bfloat16': {error}; use auto, float16 or float32"
                ) from error
        return cls(cfg.INFERENCE.PRECISION, cfg.INFERENCE.COMPILE)


def choose_encoding(
    model: Any,
    request: EncodingRequest,
    size: tuple[int, int],
    device: torch.device,
    *,
    num_frames: float = 0,
) -> EncodingSetup:
    """Prepares a model for the fastest computation of features that the request allows; logs the choice.

    The choice depends on the model, the request and the kind of device alone, not on measured times, except
    for compilation, which changes features by rounding only. All processes of a run choose alike.

    Args:
        model: in evaluation mode on ``device``. One without the capability ``PreparesEncoding`` is left as it
            is.
        size: H and W of the frames.
        num_frames: frames that are to be encoded; 0: not known.

    Raises:
        ModelError: for a model that cannot be copied, or not compiled although the request asks for it.
    """
    if not isinstance(model, PreparesEncoding):
        return EncodingSetup()
    sample = _sample(model, size, device)
    setup = EncodingSetup(fold=True)
    precision, remark = request.precision, ""
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    if DTYPES[precision] is not None:
        short, error = _choose_exact_layers(model, replace(setup, precision=precision), sample)
        remark = f", features differ from float32 by {error:.2%}"
        if request.precision == "auto" and not error <= MAX_ERROR:
            remark = f": {precision} would change features by {error:.1%}, more than {MAX_ERROR:.0%}"
        else:
            setup = short
    model.prepare_encoding(setup, sample)
    rate = _frames_per_second(model, sample)
    expected = num_frames / rate
    if request.compile == "on" or (request.compile == "auto" and expected >= COMPILE_SECONDS):
        compiled, rate, reason = _try_compile(model, setup, sample, rate, required=request.compile == "on")
        remark += f"; {reason}"
        setup = compiled
    logger.info("encoding: %s%s; about %s", setup.describe(), remark, _speed_text(rate))
    return setup


def prepare_frozen_encoding(
    model: Any, size: tuple[int, int], device: torch.device, dtype: torch.dtype | None
) -> None:
    """Prepares a model whose features are not trained for a training from frames; logs what was prepared.

    Its weights must not change afterwards, other than by ``load_state_dict`` of the model.

    Args:
        model: with its final weights on ``device``. One without the capability ``PreparesFrozenEncoding`` is
            left as it is.
        size: H and W of the frames.
        dtype: in which training computes matrix products; None: float32.
    """
    if not isinstance(model, PreparesFrozenEncoding):
        return
    setup, lacks_memory = None, False
    try:
        setup = model.prepare_frozen_encoding(dtype, _sample(model, size, device))
    except ModelError as error:
        logger.warning("frozen backbone: used as it is; %s", error)
    except torch.OutOfMemoryError:
        lacks_memory = True
    if lacks_memory:  # after the error is gone, which keeps the tensors of the functions that it has left
        logger.warning("frozen backbone: used as it is; the device lacks memory for a prepared copy")
        torch.get_device_module(device).empty_cache()
    if setup is not None:
        logger.info(
            "frozen backbone: encoded by a prepared copy in %s%s, which takes the memory of its weights",
            setup.describe(),
            " with folded batch norms" if setup.fold else "",
        )


def _choose_exact_layers(model: Any, setup: EncodingSetup, sample: Tensor) -> tuple[EncodingSetup, float]:
    """Returns a 16-bit setup with as few layers in float32 as the bound allows, and its error.

    Where none is within the bound: the one without layers in float32.
    """
    model.prepare_encoding(None)
    exact = _encode(model, sample)
    results: list[tuple[EncodingSetup, float]] = []
    for fraction in EXACT_LAYERS:
        candidate = replace(setup, exact_layers=fraction)
        model.prepare_encoding(candidate, sample)
        results.append((candidate, _difference(_encode(model, sample), exact)))
        if results[-1][1] <= MAX_ERROR:
            return results[-1]
    return results[0]


def _difference(features: Tensor, exact: Tensor) -> float:
    """Returns the distance of features from exact ones, relative to the norm of these."""
    return float((features - exact).norm() / exact.norm().clamp(min=1e-12))


def _sample(model: Any, size: tuple[int, int], device: torch.device) -> Tensor:
    """Returns smooth random frames (1, 3, T, H, W), the same in each process."""
    grid = clip_grid_of(model)
    frames = _TRIAL_FRAMES if grid is None else grid.frames
    coarse = torch.randn(frames, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return images.to(device).transpose(0, 1)[None].contiguous()


@torch.no_grad()
def _encode(model: Any, sample: Tensor) -> Tensor:
    return model.encode_frames(sample).float()


def _frames_per_second(model: Any, sample: Tensor) -> float:
    """Returns the speed on a sample, after one pass that is not timed."""
    seconds = min(_seconds(model, sample) for _ in range(2))
    if seconds < _SHORT_SECONDS:  # too few frames to fill a pass
        sample = sample.repeat(1, 1, _REPEATS, 1, 1)
        seconds = _seconds(model, sample)
    return sample.shape[2] / max(seconds, 1e-9)


def _speed_text(rate: float) -> str:
    """Returns frames per second as text.

    >>> _speed_text(1671.2), _speed_text(0.523)
    ('1,671 frames/s', '0.52 frames/s')
    """
    return f"{rate:,.0f} frames/s" if rate >= 10 else f"{rate:.2g} frames/s"


def _seconds(model: Any, sample: Tensor) -> float:
    started = time.perf_counter()
    _encode(model, sample).sum().item()  # the value is fetched, so that a GPU has finished
    return time.perf_counter() - started


def _try_compile(
    model: Any, setup: EncodingSetup, sample: Tensor, rate: float, *, required: bool
) -> tuple[EncodingSetup, float, str]:
    """Returns the compiled setup, its frames per second and a remark; the given setup where it is not faster.

    Raises:
        ModelError: where compilation fails although it is required.
    """
    plain = _encode(model, sample)
    compiled, detail = replace(setup, compile=True), ""
    difference = fast = 0.0
    try:
        model.prepare_encoding(compiled, sample)
        difference = _difference(_encode(model, sample), plain)
        fast = _frames_per_second(model, sample)
    except Exception as error:  # torch.compile raises errors of many libraries
        detail = f"{type(error).__name__}: {first_line(error)}"
        if required:
            raise ModelError(
                f"INFERENCE.COMPILE = on: the network cannot be compiled ({detail}); set it to off, or "
                "install a C++ compiler"
            ) from error
    if detail:  # after the error is gone, which keeps the tensors of the functions that it has left
        model.prepare_encoding(setup, sample)
        return setup, rate, f"not compiled ({detail})"
    if difference > MAX_ERROR or (fast < rate and not required):
        model.prepare_encoding(setup, sample)
        return setup, rate, f"not compiled ({_speed_text(fast)}, features differ by {difference:.2%})"
    return compiled, fast, f"compilation made {_speed_text(rate)} to {_speed_text(fast)}"
