"""Counts the parameters and multiply-adds of a configuration's model, by module.

Multiply-adds with weights (linear layers, convolutions) and those of attention's products, which many papers
do not count, have separate columns. The model runs on the meta device, so that a video of any length takes no
time.

examples:
  slowfast analyze flops --cfg VIT_B_VTN --frames 250
  slowfast analyze flops --cfg SLOWFAST_8x8_R50 --depth 2
  slowfast analyze flops --cfg QUICKSTART VTN.LONGFORMER.NUM_HIDDEN_LAYERS 4
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from slowfast.cli.options import add_config_arguments, add_json_option, integer_from, positive_integer
from slowfast.files import write_text
from slowfast.visualization.text_table import align_columns

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode

_HEADER = ("module", "parameters", "GMACs", "attention", "percent")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this analysis."""
    add_config_arguments(parser)
    parser.add_argument(
        "--frames", type=positive_integer, metavar="T", help="frames per view (default: as in the test)"
    )
    parser.add_argument(
        "--size",
        type=positive_integer,
        metavar="PIXELS",
        help="height and width (default: DATA.TEST_CROP_SIZE)",
    )
    parser.add_argument(
        "--depth",
        type=integer_from(0),
        default=1,
        metavar="N",
        help="levels of modules to print (default: 1)",
    )
    add_json_option(parser, "the counts of all modules")


def run(args: argparse.Namespace) -> int:
    """Prints the table; returns the exit status."""
    from slowfast.config import load_config
    from slowfast.models import build_model
    from slowfast.models.complexity import clip_complexity, count_parameters
    from slowfast.models.frame_format import adopt_frame_format

    cfg = load_config(args.cfg, args.overrides)
    model = build_model(cfg, fetch_weights=False)
    if not (args.size and args.frames):
        cfg = adopt_frame_format(cfg, model)
    frames, views = views_of_test(cfg)
    frames = args.frames or frames
    size = args.size or cfg.DATA.TEST_CROP_SIZE
    complexity = clip_complexity(model, frames, size)
    parameters = {
        name: count_parameters(module) for name, module in model.named_modules() if name in complexity.modules
    }
    total = complexity.total
    rows = [
        (name, parameters.get(name, 0), macs.weights, macs.attention)
        for name, macs in complexity.modules.items()
    ]
    shown = [row for row in rows if row[0].count(".") < args.depth]
    # The counts have the order of computation; print them in the order of the model's modules.
    order = {name: number for number, (name, _) in enumerate(model.named_modules())}
    shown.sort(key=lambda row: order.get(row[0], len(order)))
    table = [*shown, ("total", count_parameters(model), total.weights, total.attention)]
    print(f"{cfg.MODEL.MODEL_NAME}, one view of {frames} frames of {size} × {size} pixels")
    print_table(table, total.total)
    print(
        f"a test video has {views} view{'s' if views > 1 else ''} in this configuration: "
        f"{views * total.weights / 1e9:.4g} GMACs, {views * total.total / 1e9:.4g} with attention"
    )
    if args.json:
        counts = [
            {"module": name, "parameters": count, "macs": weights, "attention_macs": attention}
            for name, count, weights, attention in [*rows, table[-1]]
        ]
        write_text(args.json, json.dumps(counts, indent=1) + "\n")
        print(f"counts of all modules: {args.json}")
    return 0


def views_of_test(cfg: CfgNode) -> tuple[int, int]:
    """Returns the number of frames per view in the test, and the number of views per video."""
    crops = cfg.TEST.NUM_SPATIAL_CROPS
    if cfg.TRAIN.EVAL_FULL_VIDEO:
        return cfg.TRAIN.EVAL_NUM_FRAMES or cfg.DATA.NUM_FRAMES, crops
    return cfg.DATA.NUM_FRAMES, cfg.TEST.NUM_ENSEMBLE_VIEWS * crops


def print_table(rows: list[tuple[str, int, int, int]], total: int) -> None:
    """Prints rows of (name, parameters, multiply-adds with weights, multiply-adds of attention).

    Args:
        total: multiply-adds of the model; the last column is the percentage of it.
    """
    cells = [
        (name, f"{count:,}", _giga(weights), _giga(attention), _percent(weights + attention, total))
        for name, count, weights, attention in rows
    ]
    print("\n".join(align_columns([_HEADER, *cells], left=(0,))))


def _giga(count: int) -> str:
    return f"{count / 1e9:.4g}"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "–"
