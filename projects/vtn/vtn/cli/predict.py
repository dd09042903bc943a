"""The command line for one video of any length: from the file to scores, over time too.

Parsing imports nothing heavy, so that ``--help`` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtn.frame_model import FrameModel
    from vtn.inference.features import VideoFeatures

_EXAMPLES = """\
examples:
  the classes of a video
    python tools/predict.py --cfg VIT_B_VTN --checkpoint weights.pyth film.mp4

  every ten seconds of a long one, at one frame a second, as a table
    python tools/predict.py --cfg VIT_B_VTN --checkpoint weights.pyth film.mp4 \\
        --fps 1 --window 10 --stride 5 --output film.csv

Ctrl-C keeps the features so far; the same command goes on from there. A finished video's features are used
again, so that other windows cost seconds. Exit status: 0 done, 1 failed, 2 the command or the configuration
is wrong, 130 interrupted.
"""


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Classifies a video of any length, and each part of it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("video", metavar="VIDEO", help="file")
    parser.add_argument("--cfg", required=True, metavar="F", help="YAML file, or name of a shipped one")
    parser.add_argument("--checkpoint", required=True, metavar="F", help="weights of the model")
    parser.add_argument(
        "--fps",
        type=_positive,
        metavar="N",
        help="frames a second to look at (default: DATA.TARGET_FPS / DATA.SAMPLING_RATE, as in training)",
    )
    parser.add_argument("--window", type=_positive, metavar="SECONDS", help="also score windows this long")
    parser.add_argument(
        "--stride", type=_positive, metavar="SECONDS", help="from window to window (default: a window)"
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes to name (default: 5)")
    parser.add_argument("--output", type=_table, metavar="F", help="write all scores to a .json or .csv file")
    parser.add_argument(
        "--features",
        metavar="F",
        help="where the frames' features are kept, an .npy file and a .json beside it (default: "
        "features/NAME-… .npy in OUTPUT_DIR)",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="keys to change")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    if args.stride and not args.window:
        parser.error("--stride goes with --window; give both")
    if args.output and args.features:
        from slowfast.features.storage import feature_paths

        _, description = feature_paths(args.features)
        if Path(args.output) == description:
            parser.error(f"{args.output} is where --features describes them; give --output another name")

    from slowfast.errors import SlowFastError
    from slowfast.exit_status import run_command
    from slowfast.interrupt import Interrupt, Interrupted
    from slowfast.log import setup_logging

    setup_logging(None)

    def work() -> int:
        try:
            with Interrupt() as interrupt:
                _predict(args, interrupt)
        except Interrupted as stopped:
            print(f"{parser.prog}: {stopped}", file=sys.stderr)
            return stopped.exit_code
        return 0

    return run_command(parser.prog, work, expected=(SlowFastError, OSError))


def _predict(args: argparse.Namespace, interrupt: Any) -> None:
    from vtn.inference.prediction import Prediction
    from vtn.inference.windows import score_video, score_windows

    cfg, model, class_names = _load(args)
    video = _extract(args, cfg, model, interrupt)
    timeline = None
    if args.window:
        timeline = score_windows(
            model,
            video,
            args.window,
            args.stride or args.window,
            head_act=cfg.MODEL.HEAD_ACT,
            on_batch=lambda windows: interrupt.raise_if_requested(),
        )
    prediction = Prediction(
        video=args.video,
        seconds=video.duration,
        num_frames=video.num_decoded,
        num_undecodable=len(video.features) - video.num_decoded,
        class_names=class_names,
        scores=score_video(model, video, head_act=cfg.MODEL.HEAD_ACT),
        timeline=timeline,
    )
    print(prediction.describe(args.top))
    if args.output:
        with _naming(args.output):
            prediction.write(args.output, args.top)
        print(f"all scores: {args.output}")


def _load(args: argparse.Namespace) -> tuple[Any, FrameModel, list[str]]:
    """The configuration, its model with the weights in it, on a GPU where there is one, and class names."""
    import torch

    from slowfast.checkpoint.weights import load_model_weights
    from slowfast.config import load_config
    from slowfast.datasets.class_names import choose_class_names
    from slowfast.errors import ConfigError
    from slowfast.models.build import build_model
    from slowfast.models.frame_format import adopt_frame_format
    from slowfast.solver.ema import evaluates_average
    from vtn.frame_model import FrameModel

    cfg = load_config(args.cfg, ["TRAIN.ENABLE", "False", "TEST.ENABLE", "False", *args.overrides])
    model = build_model(cfg, fetch_weights=False)
    if not isinstance(model, FrameModel):
        raise ConfigError(
            f"MODEL.MODEL_NAME = {cfg.MODEL.MODEL_NAME!r}: sees no single frames; use VTN or FrameAverage"
        )
    stored_names = load_model_weights(model, args.checkpoint, averaged=evaluates_average(cfg))
    class_names = choose_class_names(cfg.TENSORBOARD.CLASS_NAMES_PATH, stored_names, cfg.MODEL.NUM_CLASSES)
    cfg = adopt_frame_format(cfg, model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return cfg, model.to(device).prepare_inference(), class_names


def _extract(args: argparse.Namespace, cfg: Any, model: FrameModel, interrupt: Any) -> VideoFeatures:
    """The features of the video's frames, with a progress bar; those on the disk are not made again."""
    from slowfast.engine.evaluator import frame_normalization
    from vtn.inference.extract import FrameView, extract_features

    mean, std = frame_normalization(cfg, model)
    view = FrameView(
        fps=args.fps or cfg.DATA.TARGET_FPS / cfg.DATA.SAMPLING_RATE,
        short_side=min(cfg.DATA.TRAIN_JITTER_SCALES),
        crop_size=cfg.DATA.TEST_CROP_SIZE,
        mean=mean,
        std=std,
        interpolation=cfg.DATA.INTERPOLATION,
    )
    path = args.features or _feature_path(args.video, cfg.OUTPUT_DIR)
    with _naming(path):
        return extract_features(model, args.video, view, path, show_progress=True, interrupt=interrupt)


def _feature_path(video: str, output_dir: str) -> Path:
    """A place for each video: its name, and a digest of where it lies since names repeat."""
    digest = hashlib.sha256(str(Path(video).resolve()).encode()).hexdigest()[:8]
    return Path(output_dir) / "features" / f"{Path(video).stem}-{digest}.npy"


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Gives an error of the system that names no file, as that of a full disk, the file being written."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _table(text: str) -> str:
    if Path(text).suffix not in (".json", ".csv"):
        raise argparse.ArgumentTypeError(f"{text} ends neither in .json nor in .csv")
    return text
