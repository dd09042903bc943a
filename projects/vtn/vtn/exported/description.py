"""The description that an exported file carries, so that it can be applied without its model.

ONNX files hold each entry as a metadata property with a value in JSON, ``.pt2`` archives hold all entries as
the extra file ``description.json``. The graph takes and gives:

* ``backbone``: ``frames`` (B, 3, T, H, W) float32, normalised -> ``features`` (B, T, F) or (B, T, M, F);
* ``encoder``: ``features``, ``positions`` (B, T) int64, ``mask`` (B, T) bool -> ``scores`` (B, K);
* ``model``: ``frames``, ``positions``, ``mask`` -> ``scores``.

B clips and T frames are free. M tokens of a frame, F width of a feature, H W pixels, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from slowfast.errors import CheckpointError, first_line
from slowfast.files import parse_json

FORMAT = "vtn-export-1"
BACKBONE, ENCODER, MODEL = "backbone", "encoder", "model"
INPUTS: Mapping[str, tuple[str, ...]] = {
    BACKBONE: ("frames",),
    ENCODER: ("features", "positions", "mask"),
    MODEL: ("frames", "positions", "mask"),
}
"""Part of a model -> names of the inputs of its graph, in their order."""
OUTPUTS: Mapping[str, str] = {BACKBONE: "features", ENCODER: "scores", MODEL: "scores"}
"""Part of a model -> name of the output of its graph."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_tuple_of(is_item: Callable[[Any], bool], *lengths: int) -> Callable[[Any], bool]:
    """Returns a check of tuples of such items, of one of the lengths or of any."""
    return lambda value: (
        isinstance(value, tuple) and (not lengths or len(value) in lengths) and all(map(is_item, value))
    )


def _checked(is_valid: Callable[[Any], bool]) -> Any:
    """Returns a field with a check of its values, which may come from a file that cannot be trusted."""
    return field(metadata={"is_valid": is_valid})


@dataclass(frozen=True)
class Description:
    """Facts about an exported model that a program needs to apply it.

    Attributes:
        format: :data:`FORMAT`.
        part: ``backbone``, ``encoder`` or ``model``.
        architecture: name of the model's class.
        weights_digest: hash of the model's weights, equal in the parts of one model; with ``-int8`` behind it
            for 8-bit weights, whose scores differ.
        class_names: K names in the order of the scores; empty where they are not known.
        num_classes: K.
        frame_size: H and W in pixels.
        frame_mean, frame_std: normalisation per channel, of pixels scaled to 0 … 1.
        channels: ``RGB`` or ``BGR``, the order of the channels of ``frames``.
        feature_shape: (F,), or (M, F) for several tokens per frame.
        position_rate: positions are ``round(seconds × position_rate)``; None: numbers of the frames in their
            video.
        position_unit: the same in words.
        frames_per_second: of the clips that the model was trained with.
        score_activation: the activation that the graph applies to its logits.
        evaluation: config key -> value, the sampling and scaling of frames in tests, see
            ``vtn.arguments.evaluation``.
    """

    format: str = _checked(FORMAT.__eq__)
    part: str = _checked(tuple(INPUTS).__contains__)
    architecture: str = _checked(_is_text)
    weights_digest: str = _checked(_is_text)
    class_names: tuple[str, ...] = _checked(_is_tuple_of(_is_text))
    num_classes: int = _checked(_is_count)
    frame_size: tuple[int, ...] = _checked(_is_tuple_of(_is_count, 2))
    frame_mean: tuple[float, ...] = _checked(_is_tuple_of(_is_number, 3))
    frame_std: tuple[float, ...] = _checked(_is_tuple_of(_is_number, 3))
    channels: str = _checked(("RGB", "BGR").__contains__)
    feature_shape: tuple[int, ...] = _checked(_is_tuple_of(_is_count, 1, 2))
    position_rate: float | None = _checked(lambda rate: rate is None or (_is_number(rate) and rate > 0))
    position_unit: str = _checked(_is_text)
    frames_per_second: float = _checked(lambda rate: _is_number(rate) and rate > 0)
    score_activation: str = _checked(_is_text)
    evaluation: Mapping[str, Any] = _checked(lambda keys: isinstance(keys, dict))  # and where it is used

    def to_texts(self) -> dict[str, str]:
        """Returns entry -> value in JSON."""
        return {name: json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], *, source: str) -> Description:
        """Returns the description that :meth:`to_texts` has written.

        Args:
            texts: entry -> value in JSON; other entries are ignored.
            source: the file, for messages.

        Raises:
            CheckpointError: where entries are missing or have values of another kind.
        """
        names = [item.name for item in fields(cls)]
        if missing := [name for name in names if name not in texts]:
            raise CheckpointError(
                f"{source}: lacks the entries {', '.join(missing)}, which `vtn export` writes; export the "
                "model again"
            )
        values: dict[str, Any] = {}
        for name in names:
            try:
                value = parse_json(texts[name])
            except ValueError as error:
                raise CheckpointError(f"{source}: {name}: must be JSON ({first_line(error)})") from error
            values[name] = tuple(value) if isinstance(value, list) else value
        wrong = [item.name for item in fields(cls) if not item.metadata["is_valid"](values[item.name])]
        if wrong:
            described = ", ".join(f"{name} = {values[name]!r}" for name in wrong)
            raise CheckpointError(
                f"{source}: {described}: must be as `vtn export` of this version writes it; export the model "
                "again"
            )
        return cls(**values)
