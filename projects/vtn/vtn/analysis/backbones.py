"""Lists backbones: width, parameters, GMACs per frame, input size, normalization, published weights.

PATTERN is a timm, `torchvision:` or `pytorchvideo:` name that may contain * and ?, or one name from any
source, such as `hf:FOLDER`. Each model is built and run on the meta device, which takes no memory for
weights. Only the configuration of an `hf:` name is downloaded. Multiply-adds of attention are included. Those
of a clip encoder are divided by the frames of a clip; its input is 16×224 for 16 frames of 224 pixels. All of
timm takes minutes.

examples:
  slowfast analyze backbones 'vit_tiny*'
  slowfast analyze backbones 'torchvision:convnext*'
  slowfast analyze backbones 'convnext*' --json convnext.json
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

from slowfast.cli.options import add_json_option

_COLUMNS = (
    ("backbone", 44),
    ("width", 6),
    ("params M", 9),
    ("GMACs", 8),
    ("input", 7),
    ("mean", 18),
    ("std", 18),
)


@dataclass(frozen=True)
class BackboneMetrics:
    """The properties of one backbone.

    Attributes:
        name: value for ``VTN.BACKBONE.NAME``.
        width: F, the width of a feature.
        parameters: number of parameters without a classifier.
        gmacs: multiply-adds for one frame of ``input_size``, in 10⁹; those of a clip are divided by
            ``clip_frames``.
        input_size: height and width of the frame in pixels.
        clip_frames: frames of a clip; None: the backbone encodes single frames.
        fixed_size: whether the backbone accepts no other size.
        mean, std: normalization per channel, of pixels scaled to 0 … 1.
        interpolation: method by which training images were resized.
        weights: names of the published weights; ``VTN.BACKBONE.NAME model.weights`` selects one.
    """

    name: str
    width: int
    parameters: int
    gmacs: float
    input_size: int
    clip_frames: int | None
    fixed_size: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    weights: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this analysis."""
    parser.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="names to list (default: all of timm)"
    )
    parser.add_argument(
        "--imports",
        action="append",
        default=[],
        metavar="FILE",
        help="module or Python file that registers backbones, as in the configuration key IMPORTS; may be "
        "given several times",
    )
    add_json_option(parser, "the table")
    parser.add_argument(
        "--args",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="arguments of the backbones, as in VTN.BACKBONE.ARGS, for example img_size 384",
    )


def run(args: argparse.Namespace) -> int:
    """Prints one line per backbone as soon as it is measured; returns the exit status."""
    from slowfast.errors import SlowFastError
    from slowfast.files import write_text
    from slowfast.registry import import_user_modules

    import_user_modules(args.imports)
    options = _options(args.args)
    names = find_names(args.pattern)
    print("  ".join(f"{title:<{width}}" for title, width in _COLUMNS) + "  published weights")
    found, failed = [], []
    for name in names:
        try:
            metrics = measure_backbone(name, options)
        except SlowFastError as error:
            failed.append(f"{name}: {error}")
            continue
        found.append(metrics)
        print(_line(metrics), flush=True)
    if args.json:
        write_text(args.json, json.dumps([asdict(metrics) for metrics in found], indent=1) + "\n")
        print(f"table: {args.json}")
    for problem in failed:
        print(f"skipped: {problem}", file=sys.stderr)
    return 0 if found else 1


def find_names(pattern: str) -> list[str]:
    """Returns the names that match a pattern.

    Raises:
        ModelError: if no name matches.
    """
    import timm

    from slowfast.errors import ModelError
    from vtn.backbones import torchvision_models
    from vtn.backbones.build import BACKBONE_REGISTRY
    from vtn.backbones.clips import pytorchvideo_clips

    source, colon, _ = pattern.partition(":")
    if not any(sign in pattern for sign in "*?["):
        return [pattern]
    listed = {"torchvision": torchvision_models, "pytorchvideo": pytorchvideo_clips}
    if source in listed:
        known = [f"{source}:{name}" for name in listed[source].names()]
    elif colon:
        raise ModelError(f"{pattern}: {source} has no list of models; name one model, without * and ?")
    else:
        known = [*BACKBONE_REGISTRY, *timm.list_models()]
    if not (names := fnmatch.filter(known, pattern)):
        raise ModelError(f"{pattern}: matches no backbone; use * for any characters, as in 'vit_*'")
    return names


def measure_backbone(name: str, options: dict[str, Any]) -> BackboneMetrics:
    """Builds a backbone, on the meta device if possible, and counts its parameters and multiply-adds.

    Args:
        options: keyword arguments of the backbone.

    Raises:
        ModelError: if the backbone cannot be built, or does not run on the meta device.
    """
    import torch

    from slowfast.errors import ModelError
    from slowfast.models.complexity import count_parameters, measure_complexity
    from vtn.backbones.build import build_backbone

    try:
        with torch.device("meta"):
            built = build_backbone(name, pretrained=False, options=options)
    except RuntimeError:  # the constructor reads values of tensors, as those of torchvision's RegNets do
        built = build_backbone(name, pretrained=False, options=options)
    with torch.device("meta"):
        network = built.network.to("meta").eval().requires_grad_(False)
        size = built.image_size or 224
        clip_frames = built.clip.frames if built.clip else None
        shape = (size, size) if clip_frames is None else (clip_frames, size, size)
        try:
            complexity = measure_complexity(network, torch.zeros(1, 3, *shape))
        except Exception as error:  # models raise many types of errors on the meta device
            raise ModelError(
                f"cannot run on the meta device: {type(error).__name__}: {error}; leave this backbone out"
            ) from error
    return BackboneMetrics(
        name=name,
        width=built.feature_dim,
        parameters=count_parameters(network),
        gmacs=complexity.total.total / (clip_frames or 1) / 1e9,
        input_size=size,
        clip_frames=clip_frames,
        fixed_size=built.fixed_size,
        mean=built.mean,
        std=built.std,
        interpolation=built.interpolation,
        weights=_published(name),
    )


def _published(name: str) -> list[str]:
    """Returns the names of the published weights of a backbone."""
    import timm
    from torchvision.models import get_model_weights

    from vtn.backbones.clips.pytorchvideo_clips import published_url

    source, colon, rest = name.partition(":")
    if source == "torchvision":
        return [weights.name for weights in get_model_weights(rest)]
    if source == "pytorchvideo":
        return [published_url(rest).rpartition("/")[2].removesuffix(".pyth")]
    if colon or not timm.is_model(name):
        return []
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*") or []]


def _options(pairs: list[str]) -> dict[str, Any]:
    """Returns the values of ``--args`` by key."""
    from slowfast.config.values import parse_literal
    from slowfast.errors import ConfigError

    if len(pairs) % 2:
        raise ConfigError(f"--args {' '.join(pairs)}: must be pairs KEY VALUE KEY VALUE …")
    return {key: parse_literal(text) for key, text in zip(pairs[::2], pairs[1::2], strict=True)}


def _line(metrics: BackboneMetrics) -> str:
    """Returns one row of the table; ``+`` after the input size means that other sizes are accepted."""
    frames = "" if metrics.clip_frames is None else f"{metrics.clip_frames}×"
    cells = (
        metrics.name,
        str(metrics.width),
        f"{metrics.parameters / 1e6:.2f}",
        f"{metrics.gmacs:.3g}",
        f"{frames}{metrics.input_size}{'' if metrics.fixed_size else '+'}",
        " ".join(f"{value:.3g}" for value in metrics.mean),
        " ".join(f"{value:.3g}" for value in metrics.std),
    )
    row = "  ".join(f"{cell:<{width}}" for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
    return f"{row}  {' '.join(metrics.weights) or '-'}"
