"""The images that a model of ``transformers`` was trained on, as its image processor makes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slowfast.errors import first_line
from slowfast.log import get_logger
from vtn.backbones.base import DEFAULT_MEAN, DEFAULT_STD, Triple, interpolation_of
from vtn.backbones.hugging_face.files import interpolation_in, is_model_type, side_of

logger = get_logger(__name__)

_FULL = 255.0
"""The largest value of a pixel, which a processor gets."""
_SWITCHES = ("do_normalize", "do_rescale")


@dataclass(frozen=True)
class Preprocessing:
    """The format of a model's images.

    Attributes:
        mean, std: normalization per channel (red, green, blue), of pixels scaled to 0 … 1.
        interpolation: ``bilinear`` or ``bicubic``.
        size: height in pixels; None if unknown.
        flips_channels: whether the model takes the channels as blue, green, red.
    """

    mean: Triple = DEFAULT_MEAN
    std: Triple = DEFAULT_STD
    interpolation: str = "bilinear"
    size: int | None = None
    flips_channels: bool = False


def read_preprocessing(name: str, config: Any) -> Preprocessing:
    """Returns the preprocessing of a model on the hub or in a local folder; the default where none is stated.

    A file with the preprocessing may leave out what the processor's class sets by default, so an instance of
    the class is read. Where it cannot be made, the file's own entries are used, with a warning.

    Args:
        config: the model's configuration, in which models of timm have their preprocessing.
    """
    from transformers import AutoImageProcessor, ImageProcessingMixin

    if of_timm := getattr(config, "pretrained_cfg", None):
        return _from_timm(of_timm)
    if is_model_type(name):
        return Preprocessing()
    try:
        entries = ImageProcessingMixin.get_image_processor_dict(name)[0]
    except OSError:
        logger.warning(
            "backbone hf:%s: has no preprocessor_config.json; frames are normalized with mean %s and std %s",
            name, DEFAULT_MEAN, DEFAULT_STD,
        )  # fmt: skip
        return Preprocessing()
    try:
        processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # classes of many authors, some of which need packages that are not installed
        logger.warning(
            "backbone hf:%s: its image processor cannot be made (%s); the entries of "
            "preprocessor_config.json alone are used, without the defaults of its class",
            name, first_line(error),
        )  # fmt: skip
        return _from_entries(with_switches(entries), name)
    # to_dict() leaves out attributes that are None, such as do_normalize of processors without normalization.
    switches = {key: getattr(processor, key, True) for key in _SWITCHES}
    stated = _from_entries({**processor.to_dict(), **switches}, name)
    return _measured(processor, stated) or stated


def normalization_in(entries: Mapping[str, Any], default: tuple[Triple, Triple]) -> tuple[Triple, Triple]:
    """Returns mean and standard deviation, of pixels scaled to 0 … 1, that a processor's entries state.

    Args:
        entries: content of a processor's file, or its attributes.
        default: where the entries normalize but state no values.
    """
    mean, std = default
    if entries.get("do_normalize"):
        mean, std = _triple(entries.get("image_mean"), mean), _triple(entries.get("image_std"), std)
    else:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    # The processor gets pixels of 0 … 255 and multiplies them by its factor before it normalizes them.
    factor = (entries.get("rescale_factor") or 1 / _FULL) if entries.get("do_rescale") else 1.0
    scale = _FULL * factor
    if math.isclose(scale, 1.0, rel_tol=1e-6):
        return mean, std
    return _triple([m / scale for m in mean], mean), _triple([s / scale for s in std], std)


def with_switches(entries: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the entries of a processor's file; scaling and normalization are on where it does not say."""
    stated = {key: value for key, value in entries.items() if value is not None}
    return {**dict.fromkeys(_SWITCHES, True), **stated}


def _from_timm(published: Mapping[str, Any]) -> Preprocessing:
    """Returns the preprocessing in timm's configuration of a model."""
    from timm.data import resolve_data_config

    data = resolve_data_config(pretrained_cfg=dict(published))
    return Preprocessing(
        _triple(data["mean"], DEFAULT_MEAN),
        _triple(data["std"], DEFAULT_STD),
        interpolation_of(data["interpolation"]),
        data["input_size"][-1],
    )


def _from_entries(entries: Mapping[str, Any], name: str) -> Preprocessing:
    if entries.get("do_normalize") and not (entries.get("image_mean") and entries.get("image_std")):
        logger.warning(
            "backbone hf:%s: its image processor states no mean and standard deviation; frames are "
            "normalized with mean %s and std %s",
            name, DEFAULT_MEAN, DEFAULT_STD,
        )  # fmt: skip
    mean, std = normalization_in(entries, (DEFAULT_MEAN, DEFAULT_STD))
    crops = entries.get("do_center_crop", "crop_size" in entries) and entries.get("crop_size")
    size = side_of(entries["crop_size"] if crops else entries.get("size"))
    return Preprocessing(
        mean, std, interpolation_in(entries), size, bool(entries.get("do_flip_channel_order"))
    )


def _measured(processor: Any, stated: Preprocessing) -> Preprocessing | None:
    """Returns the preprocessing with the normalization and order of channels that the processor computes.

    Processors have steps of their own beside those that all share: EfficientNet's normalizes a second time.
    Whatever the steps are, four images of one colour each show what becomes of a pixel. Values that are as
    stated are not replaced, since measured ones are rounded. None: the processor does not return images.
    """
    colours = np.zeros((4, 8, 8, 3), np.uint8)
    for channel in range(3):
        colours[channel + 1, ..., channel] = _FULL  # black, red, green, blue
    try:
        found = np.asarray(processor(list(colours), return_tensors="np")["pixel_values"], np.float64)
    except Exception:  # processors of segmentation or of documents take more than an image
        return None
    if found.ndim != 4 or found.shape[:2] != (4, 3):
        return None
    black, *primaries = found[:, :, found.shape[2] // 2, found.shape[3] // 2]
    gains = np.stack(primaries) - black  # (channel of the image, channel that the model gets)
    flips = abs(gains[0, 2]) > abs(gains[0, 0])
    if flips:
        gains, black = gains[:, ::-1], black[::-1]
    of_channel = np.diag(gains)
    if not np.all(of_channel) or not np.allclose(gains, np.diag(of_channel), atol=1e-6):
        return None
    mean, std = -black / of_channel, 1 / of_channel
    if not np.allclose([mean, std], [stated.mean, stated.std], rtol=1e-4, atol=1e-5):
        own = [[round(float(value), 6) for value in values] for values in (mean, std)]
        stated = replace(stated, mean=_triple(own[0], stated.mean), std=_triple(own[1], stated.std))
    return replace(stated, flips_channels=bool(flips))


def _triple(values: Any, default: Triple) -> Triple:
    """Returns one value per channel, from a list or one number; the default for None."""
    if values is None:
        return default
    red, green, blue = values if isinstance(values, list | tuple) else (values,) * 3
    return float(red), float(green), float(blue)
