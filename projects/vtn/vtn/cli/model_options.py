"""Options of the commands that use a model: its parts, the frames that it sees, and its device."""

from __future__ import annotations

import argparse
from typing import Any

from slowfast.cli.options import positive_number
from slowfast.preparation.arguments import add_line_arguments


def add_source_options(parser: argparse.ArgumentParser, *, exported: bool = False) -> argparse._ArgumentGroup:
    """Adds the options that ``SOURCE`` may need to become a model, and returns their group.

    Args:
        exported: whether the command also takes what ``vtn export`` wrote.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--cfg",
        default="",
        metavar="CONFIG",
        help="YAML file, or the name of a shipped configuration, for weights that come without one",
    )
    group.add_argument(
        "--imports",
        action="append",
        default=[],
        metavar="FILE",
        help="module or Python file that registers parts of the model; weights never import any by "
        "themselves; may be given several times",
    )
    group.add_argument(
        "--backbone",
        default="",
        metavar="NAME",
        help="backbone, where its description lies in a folder or on a hub",
    )
    if exported:
        group.add_argument(
            "--trust-code",
            action="store_true",
            help="open an archive of torch.export (.pt2), which can run any code",
        )
    return group


def add_list_options(group: argparse._ActionsContainer, purpose: str) -> None:
    """Adds the options of a list of videos with labels."""
    group.add_argument("--split", default="", metavar="FILE", help=f"list of `path label` lines, {purpose}")
    add_line_arguments(group)


def add_device_option(group: argparse._ArgumentGroup) -> None:
    """Adds the option of the device."""
    group.add_argument("--device", metavar="NAME", help="such as cuda:1 or cpu (default: a GPU, if present)")


def add_predictor_options(parser: argparse.ArgumentParser, *, exported: bool = False) -> None:
    """Adds the options of :func:`predictor_options`; for ``exported`` see :func:`add_source_options`."""
    group = add_source_options(parser, exported=exported)
    add_device_option(group)
    group.add_argument(
        "--fps", type=positive_number, metavar="N", help="frames per second (default: the test's)"
    )


def predictor_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the keyword arguments of :class:`vtn.Predictor` that these options, as parsed, stand for."""
    return {
        "config": args.cfg,
        "imports": args.imports,
        "backbone": args.backbone,
        "trust_code": getattr(args, "trust_code", False),
        "device": args.device,
        "fps": args.fps,
    }
