"""Continuation of a stopped ``vtn predict --jsonl``: the settings beside the lines, and the scored videos."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slowfast import __version__
from slowfast.errors import InputError, UsageError
from slowfast.files import atomic_write, hold_lock, parse_json
from slowfast.models.weights_hash import weights_hash
from vtn.exported.model import ExportedModel
from vtn.predictor.predictor import Predictor
from vtn.predictor.writers import STANDARD_OUTPUT, head_of_results, settings_path

_SAME_SCORES = frozenset({"version", "model"})
"""Entries of the settings on which the scores of equal weights do not depend."""


def describe_settings(args: argparse.Namespace, predictor: Predictor) -> dict[str, Any]:
    """Returns what the scores of a command depend on, as plain values for JSON.

    Args:
        args: see ``vtn.cli.predict``.
        predictor: made from them.
    """
    model = predictor.model
    exported = isinstance(model, ExportedModel)
    return {
        "version": __version__,
        "model": str(args.arguments[0]),
        "weights": model.description.weights_digest if exported else weights_hash(model),
        "precision": args.precision,
        "views": args.views,
        "fps": args.fps,
        "window": args.window,
        "stride": args.stride,
        "live": args.live,
        "evaluation": dict(model.evaluation),
    }


@contextmanager
def hold_lines(lines_path: str, *, resumes: bool) -> Iterator[None]:
    """Lets no other command write the same file while the block runs; a device or a pipe is free for all.

    Args:
        lines_path: of the lines; empty or ``-``: no file is written.
        resumes: whether the lines in it are kept.

    Raises:
        UsageError: where another one does, and for lines to keep in what is not a file.
    """
    path = Path(lines_path).resolve()
    if lines_path in ("", STANDARD_OUTPUT) or (path.exists() and not path.is_file()):
        if resumes:
            raise UsageError(f"--jsonl {lines_path}: must be a file for --resume")
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    message = f"--jsonl {lines_path}: another command is writing there; wait, or name another file"
    with hold_lock(Path(f"{path}.lock"), 0, UsageError(message)):
        yield


def keep_scored_videos(
    args: argparse.Namespace, predictor: Predictor, settings: Mapping[str, Any]
) -> set[str]:
    """Returns the names of the videos whose scores are in ``--jsonl``; removes all other lines from it.

    These are lines of failures, whose videos are predicted again, and a last line that was cut off.

    Raises:
        UsageError: where the scores were made by other weights or settings.
        InputError: for a file with other lines.
    """
    path = Path(args.jsonl)
    if not path.exists():
        return set()
    names: set[str] = set()
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape") as file,
    ):
        for line, video in _scored_lines(path):
            names.add(video)
            file.write(line)
        if names:
            _check_settings(path, head_of_results(predictor.class_names, settings))
    return names


def _scored_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields each line with scores, and the name of its video."""
    # The names of files that are not UTF-8 keep their bytes.
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith("\n"):
                return
            try:
                content = parse_json(line)
                video = str(content["video"])
                failed = "error" in content
            except (ValueError, TypeError, KeyError):
                raise InputError(
                    f"{path}, line {number}: was not written by `vtn predict --jsonl`; name another file"
                ) from None
            if not failed:
                yield line, video


def _check_settings(path: Path, now: Mapping[str, Any]) -> None:
    """Raises ``UsageError`` unless the file beside the lines has the settings of this command."""
    described = settings_path(path)
    try:
        before = parse_json(described.read_text(encoding="utf-8"))
        old, new = _flat(before), _flat(json.loads(json.dumps(now)))
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageError(
            f"--resume: {described} is missing or damaged, so that it is not known how the scores in {path} "
            "were made; name another file by --jsonl"
        ) from None
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if keys:
        changes = "; ".join(f"{key} was {old.get(key)!r} and is now {new.get(key)!r}" for key in keys)
        raise UsageError(
            f"--resume: the scores in {path} were made with other settings: {changes}. Restore them, or name "
            "another file by --jsonl"
        )


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that scores depend on, those of the evaluation by their keys."""
    settings = dict(content["settings"])
    evaluation = settings.pop("evaluation")
    settings = {key: value for key, value in settings.items() if key not in _SAME_SCORES}
    return {"classes": content["classes"], **settings, **evaluation}
