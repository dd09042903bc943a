"""Lists backbones: width, parameters, GMACs per frame, input size, normalisation, published weights.

PATTERN is a name of timm with * and ?, or one behind `torchvision:`; or one name of any source, such as
`hf:FOLDER`. Nothing is downloaded but the configuration of an `hf:` name, and no memory is taken for weights:
each model is built and run without values. Multiply-adds of attention are counted. All of timm takes minutes.

examples:
  python tools/analyze.py backbones 'vit_tiny*'
  python tools/analyze.py backbones 'torchvision:convnext*'
  python tools/analyze.py backbones 'convnext*' --json convnext.json
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

_COLUMNS = (
    ("backbone", 44),
    ("width", 6),
    ("params M", 9),
    ("GMACs", 8),
    ("input", 6),
    ("mean", 18),
    ("std", 18),
)


@dataclass(frozen=True)
class BackboneFigures:
    """What is told of one backbone.

    Attributes:
        width: F, of its features.
        parameters: without a classifier.
        gmacs: multiply-adds of one frame of ``input_size``, in 10⁹.
        input_size: height and width in pixels of the frame.
        fixed_size: whether it takes no other size.
        mean, std: normalisation per channel, of pixels scaled to 0 … 1.
        interpolation: how its images were scaled.
        weights: names of the published weights that it can start from; ``VTN.BACKBONE.NAME model.weights``.
    """

    name: str
    width: int
    parameters: int
    gmacs: float
    input_size: int
    fixed_size: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    weights: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="which ones; default: all of timm"
    )
    parser.add_argument(
        "--imports",
        nargs="*",
        default=[],
        metavar="FILE",
        help="modules that register more, as IMPORTS takes them",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--args",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="arguments of the backbone, as VTN.BACKBONE.ARGS takes them, such as img_size 384",
    )


def run(args: argparse.Namespace) -> int:
    """Prints a line a backbone as soon as it is known, and returns the exit status."""
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
            figures = measure(name, options)
        except SlowFastError as error:
            failed.append(f"{name}: {error}")
            continue
        found.append(figures)
        print(_line(figures), flush=True)
    if args.json:
        write_text(args.json, json.dumps([asdict(figures) for figures in found], indent=1) + "\n")
    for problem in failed:
        print(f"left out: {problem}", file=sys.stderr)
    return 0 if found else 1


def find_names(pattern: str) -> list[str]:
    """Returns the names that a pattern means.

    Raises:
        ModelError: where there are none.
    """
    import timm

    from slowfast.errors import ModelError
    from vtn.backbones import torchvision_models
    from vtn.backbones.build import BACKBONE_REGISTRY

    source, colon, _ = pattern.partition(":")
    if not any(sign in pattern for sign in "*?["):
        return [pattern]
    if source == "torchvision":
        known = [f"torchvision:{name}" for name in torchvision_models.names()]
    elif colon:
        raise ModelError(f"{pattern}: {source} has no list of its models; give one name")
    else:
        known = [*BACKBONE_REGISTRY, *timm.list_models()]
    if not (names := fnmatch.filter(known, pattern)):
        raise ModelError(f"{pattern}: no backbone has such a name; write * for any letters, as in 'vit_*'")
    return names


def measure(name: str, options: dict[str, Any]) -> BackboneFigures:
    """Builds a backbone without memory for its weights, and counts.

    Raises:
        ModelError: where it cannot be built, or takes no image of its own size.
    """
    import torch

    from slowfast.errors import ModelError
    from slowfast.models.complexity import count_parameters, measure_complexity
    from vtn.backbones.build import build_backbone

    with torch.device("meta"):
        built = build_backbone(name, pretrained=False, options=options)
        network = built.network.eval().requires_grad_(False)
        size = built.image_size or 224
        try:
            complexity = measure_complexity(network, torch.zeros(1, 3, size, size))
        except Exception as error:  # whatever a model does that is not made for running without values
            raise ModelError(f"does not run without values: {type(error).__name__}: {error}") from error
    return BackboneFigures(
        name=name,
        width=built.feature_dim,
        parameters=count_parameters(network),
        gmacs=complexity.total.total / 1e9,
        input_size=size,
        fixed_size=built.fixed_size,
        mean=built.mean,
        std=built.std,
        interpolation=built.interpolation,
        weights=_published(name),
    )


def _published(name: str) -> list[str]:
    """Tags of the weights that the source of a backbone publishes."""
    import timm
    from torchvision.models import get_model_weights

    source, colon, rest = name.partition(":")
    if source == "torchvision":
        return [weights.name for weights in get_model_weights(rest)]
    if colon or not timm.is_model(name):
        return []
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*") or []]


def _options(pairs: list[str]) -> dict[str, Any]:
    from slowfast.config.values import parse_literal
    from slowfast.errors import ConfigError

    if len(pairs) % 2:
        raise ConfigError(f"--args {' '.join(pairs)}: are not pairs; write KEY VALUE KEY VALUE …")
    return {key: parse_literal(text) for key, text in zip(pairs[::2], pairs[1::2], strict=True)}


def _line(figures: BackboneFigures) -> str:
    cells = (
        figures.name,
        str(figures.width),
        f"{figures.parameters / 1e6:.2f}",
        f"{figures.gmacs:.3g}",
        f"{figures.input_size}{'' if figures.fixed_size else '+'}",
        " ".join(f"{value:.3g}" for value in figures.mean),
        " ".join(f"{value:.3g}" for value in figures.std),
    )
    row = "  ".join(f"{cell:<{width}}" for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
    return f"{row}  {' '.join(figures.weights) or '-'}"
