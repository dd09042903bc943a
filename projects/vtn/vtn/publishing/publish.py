"""Makes of a training checkpoint what others can use: weights with all that is needed to apply them.

Written are ``NAME-<first 8 digits of its SHA-256>.pyth``, which goes wherever weights are named, and for the
models of this project a folder ``NAME`` in the form of the Hugging Face hub. Both hold class names, the
normalisation of the frames and a digest of the weights; optimiser, paths and training position stay behind.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast.errors import CheckpointError, SlowFastError
from slowfast.exit_status import run_command

if TYPE_CHECKING:
    from torch import nn

# What says where things lay on the machine that trained, and means nothing elsewhere.
LOCAL_KEYS = (
    "DATA.PATH_TO_DATA_DIR",
    "DATA.PATH_PREFIX",
    "DATA.FEATURES",
    "VTN.BACKBONE.CHECKPOINT",
    "VTN.LONGFORMER.CHECKPOINT",
    "OUTPUT_DIR",
    "TRAIN.CHECKPOINT_FILE_PATH",
    "TEST.CHECKPOINT_FILE_PATH",
    "TENSORBOARD.CLASS_NAMES_PATH",
    "TENSORBOARD.LOG_DIR",
)
_EXAMPLES = """\
examples:
  what a run learned, with the class names that it knew
    python tools/publish.py output/mine/checkpoints/checkpoint_epoch_00010.pyth published --name MINE

  weights alone, with their configuration and class names
    python tools/publish.py weights.pyth published --cfg VIT_B_VTN --classes classes.json
"""


@dataclass(frozen=True)
class Published:
    """What was written.

    Attributes:
        checkpoint: the ``.pyth`` file.
        sha256: of that file.
        folder: in the hub's form; None for models that are not this project's.
        class_names: that travel in both; empty where none were known.
    """

    checkpoint: Path
    sha256: str
    folder: Path | None
    class_names: tuple[str, ...]


def publish(
    checkpoint: str | Path,
    output: str | Path,
    *,
    name: str = "",
    config: str | Path = "",
    class_names_path: str | Path = "",
) -> Published:
    """Writes what can be published of a checkpoint.

    Args:
        checkpoint: of a training run, or any weights.
        output: folder.
        name: of the file and folder; empty: that of the checkpoint.
        config: name or file of a configuration; empty: the one in the checkpoint.
        class_names_path: json file of class name -> index; empty: those in the checkpoint.

    Raises:
        CheckpointError: where the checkpoint holds no configuration and none is given, or does not fit it;
            where it would be overwritten, and where the folder cannot be written.
        ConfigError: where the configuration is wrong.
    """
    from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE

    from slowfast.checkpoint.storage import class_names_in, read_checkpoint, weights_in
    from slowfast.checkpoint.weights import load_weights
    from slowfast.datasets.class_names import named_classes
    from slowfast.engine.evaluator import frame_normalization
    from slowfast.models.build import build_model
    from slowfast.solver.ema import evaluates_average
    from vtn.hub import HubModel

    content = read_checkpoint(checkpoint)
    cfg = _configuration(config, content, checkpoint)
    model: Any = build_model(cfg, fetch_weights=False)
    weights = weights_in(content, checkpoint, averaged=evaluates_average(cfg))
    load_weights(model, weights, source=str(checkpoint))
    names = named_classes(class_names_path, cfg.MODEL.NUM_CLASSES) or class_names_in(content, checkpoint)
    if len(names) != cfg.MODEL.NUM_CLASSES:
        names = ()
    mean, std = frame_normalization(cfg, model)
    model.class_names, model.frame_mean, model.frame_std = names, mean, std

    output, name = Path(output), name or Path(checkpoint).stem
    folder = output / name if isinstance(model, HubModel) else None
    if folder and (folder / SAFETENSORS_SINGLE_FILE).resolve() == Path(checkpoint).resolve():
        raise CheckpointError(f"{checkpoint}: would be overwritten; give another name (--name) or folder")
    with _telling_failure(output):
        path, digest = _write_checkpoint(model, cfg, output, name)
        if folder:
            model.save_pretrained(folder)
    return Published(path, digest, folder, names)


def _configuration(config: str | Path, content: dict[str, Any], checkpoint: str | Path) -> Any:
    """The given configuration, or the one in the checkpoint, without what is of this machine."""
    from slowfast.config import load_config
    from slowfast.config.defaults import get_default_config

    nothing_to_run = ["TRAIN.ENABLE", "False", "TEST.ENABLE", "False"]
    if config:
        cfg = load_config(config, nothing_to_run)
    elif isinstance(content.get("cfg"), str) and content["cfg"]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"{Path(checkpoint).name}.yaml")
            file.write_text(content["cfg"], encoding="utf-8")
            cfg = load_config(file, nothing_to_run)
    else:
        raise CheckpointError(f"{checkpoint}: holds no configuration; give the one it was trained by (--cfg)")
    cfg = cfg.clone()
    cfg.defrost()
    defaults = get_default_config()
    for key in ("TRAIN.ENABLE", "TEST.ENABLE", *LOCAL_KEYS):
        *sections, leaf = key.split(".")
        source, target = (reduce(getitem, sections, node) for node in (defaults, cfg))
        target[leaf] = source[leaf]
    cfg.freeze()
    return cfg


def _write_checkpoint(model: nn.Module, cfg: Any, output: Path, name: str) -> tuple[Path, str]:
    """Writes the ``.pyth`` file, whose name ends with its own hash; returns its path and SHA-256.

    Until the hash is known the file has a name of this process alone: ``NAME.pyth`` may be somebody's, in the
    checkpoint's own folder the checkpoint itself.
    """
    import torch

    from slowfast import __version__
    from slowfast.files import TEMPORARY_MARK, atomic_write
    from slowfast.models.build import weights_digest
    from vtn.publishing.zoo import file_sha256

    described: Any = model
    content = {
        "model_state": model.state_dict(),
        "cfg": cfg.dump(),
        "class_names": list(described.class_names),
        "normalization": {"mean": list(described.frame_mean), "std": list(described.frame_std)},
        "weights_digest": weights_digest(model),
        "version": __version__,
    }
    plain = output / f"{name}.pyth"
    plain.parent.mkdir(parents=True, exist_ok=True)
    unnamed = plain.with_name(f".{plain.stem}{TEMPORARY_MARK}{os.getpid()}-unnamed.pyth")
    try:
        # From a path torch would take the archive's inner name, and that is the temporary one.
        with unnamed.open("wb") as file:
            torch.save(content, file)
        digest = file_sha256(unnamed)
        path = plain.with_name(f"{plain.stem}-{digest[:8]}.pyth")
        with atomic_write(path) as temporary:
            os.replace(unnamed, temporary)
    finally:
        unnamed.unlink(missing_ok=True)
    return path, digest


@contextmanager
def _telling_failure(output: Path) -> Iterator[None]:
    """Turns what the system says of a place that cannot be written into words for people."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch's writer ends a failed write with a RuntimeError about positions in the file.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        where = cause.filename or output
        raise CheckpointError(
            f"could not write to {where}: {cause.strerror or cause}; make room there or give another folder"
        ) from error


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="of a training run, or weights")
    parser.add_argument("output", metavar="FOLDER", help="where to write")
    parser.add_argument("--name", default="", help="of what is written (default: the checkpoint's)")
    parser.add_argument(
        "--cfg", default="", metavar="F", help="configuration (default: the one in the checkpoint)"
    )
    parser.add_argument(
        "--classes", default="", metavar="F", help="json file of class name -> index (default: those in it)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    return run_command(parser.prog, lambda: _publish_and_tell(args), expected=(SlowFastError, OSError))


def _publish_and_tell(args: argparse.Namespace) -> int:
    published = publish(
        args.checkpoint, args.output, name=args.name, config=args.cfg, class_names_path=args.classes
    )
    print(f"{published.checkpoint}\nSHA-256: {published.sha256}")
    if published.folder is not None:
        print(f"for the hub: {published.folder}")
    if not published.class_names:
        print("no class names: the checkpoint knows none; give them with --classes", file=sys.stderr)
    return 0
