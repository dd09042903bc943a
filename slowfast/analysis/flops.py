"""Complexity of a configuration's model: parameters and multiply-adds, by module.

Multiply-adds with weights (linear layers, convolutions) stand beside those of attention's products, which
many papers leave out. No memory is taken for activations: a video of any length is counted in moments.

examples:
  python tools/analyze.py flops --cfg VIT_B_VTN --frames 250
  python tools/analyze.py flops --cfg SLOWFAST_8x8_R50 --depth 2
  python tools/analyze.py flops --cfg QUICKSTART VTN.LONGFORMER.NUM_HIDDEN_LAYERS 4
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from slowfast.files import write_text

_HEADER = ("module", "parameters", "GMACs", "attention", "share")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this analysis."""
    parser.add_argument("--cfg", required=True, metavar="F", help="YAML file, or name of a shipped one")
    parser.add_argument("--frames", type=int, metavar="T", help="of a view (default: those of the test)")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="of a side (default: DATA.TEST_CROP_SIZE)")
    parser.add_argument("--depth", type=int, default=1, metavar="N", help="of the modules shown (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures of all modules to FILE")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys to change")


def run(args: argparse.Namespace) -> int:
    """Prints the table."""
    from slowfast.config import load_config
    from slowfast.models import build_model
    from slowfast.models.complexity import clip_complexity, count_parameters
    from slowfast.models.frame_format import adopt_frame_format

    cfg = load_config(args.cfg, args.overrides)
    frames, views = views_of_test(cfg)
    model = build_model(cfg, fetch_weights=False)
    frames = args.frames or frames
    size = args.size or adopt_frame_format(cfg, model).DATA.TEST_CROP_SIZE
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
    # Blocks are counted in the order in which they run, a module in its place after the first of its parts.
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}
    shown.sort(key=lambda row: order.get(row[0], len(order)))
    table = [*shown, ("in all", count_parameters(model), total.weights, total.attention)]
    print(f"{cfg.MODEL.MODEL_NAME}, a view of {frames} frames of {size} × {size} pixels")
    print_table(table, total.total)
    print(
        f"a test video has {views} view{'s' if views > 1 else ''} by this configuration: "
        f"{views * total.weights / 1e9:.4g} GMACs, {views * total.total / 1e9:.4g} with attention"
    )
    if args.json:
        figures = [
            {"module": name, "parameters": count, "macs": weights, "attention_macs": attention}
            for name, count, weights, attention in [*rows, table[-1]]
        ]
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    return 0


def views_of_test(cfg: Any) -> tuple[int, int]:
    """Frames of a view in the test, and views a video."""
    crops = cfg.TEST.NUM_SPATIAL_CROPS
    if cfg.TRAIN.EVAL_FULL_VIDEO:
        return cfg.TRAIN.EVAL_NUM_FRAMES or cfg.DATA.NUM_FRAMES, crops
    return cfg.DATA.NUM_FRAMES, cfg.TEST.NUM_ENSEMBLE_VIEWS * crops


def print_table(rows: list[tuple[str, int, int, int]], total: int) -> None:
    """Prints (name, parameters, multiply-adds, those of attention) with each one's share of ``total``."""
    cells = [
        (name, f"{count:,}", _giga(weights), _giga(attention), _share(weights + attention, total))
        for name, count, weights, attention in rows
    ]
    widths = [max(len(line[i]) for line in [_HEADER, *cells]) for i in range(len(_HEADER))]
    for line in [_HEADER, *cells]:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *others]))


def _giga(count: int) -> str:
    return f"{count / 1e9:.4g}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
