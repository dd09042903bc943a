"""Errors that a user can cause. Each message names what was wrong, where, and what to do about it.

The command line prints them without a traceback; anything else that escapes is a defect of ours.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Mapping, Sequence


class SlowFastError(Exception):
    """Base of all errors that a user can cause and mend."""


class ConfigError(SlowFastError):
    """A configuration with all of its problems.

    Args:
        problems: one sentence per problem, each naming the key, the value received and the remedy.
        source: the file (or call) that the configuration came from.

    >>> print(ConfigError("NUM_GPUS = -1: must be 0 or more", source="run.yaml"))
    1 problem in run.yaml:
      - NUM_GPUS = -1: must be 0 or more
    """

    def __init__(self, *problems: str, source: str = "") -> None:
        self.problems = list(problems)
        self.source = source
        super().__init__(*problems)

    def __str__(self) -> str:
        where = f" in {self.source}" if self.source else ""
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        return "\n".join([f"{count}{where}:", *(f"  - {problem}" for problem in self.problems)])


class AnnotationError(SlowFastError):
    """An annotation file cannot be read; names the file and the line."""


class DecodeError(SlowFastError):
    """A video cannot be decoded.

    Args:
        path: the video.
        reason: a short class that reports count by, for instance ``missing`` or ``truncated``.
        detail: what the decoder said.
    """

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        self.path = path
        self.reason = reason
        self.detail = detail
        super().__init__(path, reason, detail)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


class CheckpointError(SlowFastError):
    """A checkpoint is missing, damaged, or does not fit the model."""


class ModelError(SlowFastError):
    """A model cannot be built as asked."""


class InputError(SlowFastError, ValueError):
    """A model or function was given frames, features, positions or a mask that it cannot take."""


class NotFiniteError(InputError):
    """A model's result is NaN or infinite.

    Args:
        message: what to do about it.
        clips: which of the batch's clips it is.
    """

    def __init__(self, message: str, clips: Sequence[int]) -> None:
        self.clips = tuple(clips)
        super().__init__(message)


class DistributedError(SlowFastError):
    """The processes of a run do not form the world that was asked for."""


class OutputError(SlowFastError):
    """The output folder cannot be written.

    Args:
        folder: OUTPUT_DIR.
        error: what the system said.
    """

    def __init__(self, folder: str, error: OSError) -> None:
        where = f" to {error.filename}" if error.filename else ""
        super().__init__(
            f"OUTPUT_DIR = {folder!r}: cannot be written{where} ({error.strerror}); make room there or "
            "choose another place. Checkpoints that were saved before are intact"
        )


class DataError(SlowFastError):
    """A run's data as a whole cannot be used, for instance because too many videos are broken."""


class TrainingError(SlowFastError):
    """Training cannot go on, for instance because its loss is not finite."""


def describe_error(error: BaseException) -> str:
    """The words of an error that a user can mend, the traceback of any other."""
    return str(error) if isinstance(error, SlowFastError) else "".join(traceback.format_exception(error))


def did_you_mean(name: str, known: Mapping[str, str], *, otherwise: str, cutoff: float = 0.5) -> str:
    """The end of a message about a name that there is not: what may have been meant.

    Args:
        known: what ``name`` is compared with -> what is told of it.
        otherwise: told where nothing is near.
        cutoff: of ``difflib.get_close_matches``.
    """
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(known[match] for match in near)}?" if near else otherwise
