"""Errors that a user can cause and fix. Each message names the problem, its place, and a remedy.

The command line prints these errors without a traceback; any other error is a defect of this program.
"""

from __future__ import annotations

import difflib
import math
import os
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from numbers import Number
from types import TracebackType

_OWN_FOLDER = os.path.join(os.path.dirname(__file__), "")
# Of a checkout; installed projects are in "site-packages", as other libraries are.
_PROJECTS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "projects", "")
# Characters of a wrong value: a path with its label, and not all lines of a list that became one cell.
_MOST_SHOWN = 200
# Problems in a message; a file that is not a configuration may have thousands.
_MOST_PROBLEMS = 50


class SlowFastError(Exception):
    """Base class of all errors that a user can cause and fix."""


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
        count = counted(len(self.problems), "problem")
        lines = [f"{count}{where}:", *(f"  - {problem}" for problem in self.problems[:_MOST_PROBLEMS])]
        if len(self.problems) > _MOST_PROBLEMS:
            lines.append(f"  … and {len(self.problems) - _MOST_PROBLEMS:,} more")
        return "\n".join(lines)


class UsageError(SlowFastError):
    """Arguments of a command that are wrong; the message names the option. The exit status is 2."""


class InstallationError(SlowFastError):
    """Packages that are older than this program needs.

    Args:
        found: requirement, such as ``numpy>=1.26`` -> the version that is installed.
    """

    def __init__(self, found: Mapping[str, str]) -> None:
        versions = ", ".join(f"{needed} (found {version})" for needed, version in found.items())
        command = shlex.join([sys.executable, "-m", "pip", "install", *found])
        super().__init__(f"packages are too old, and results may be wrong: {versions}; run {command}")


class AnnotationError(SlowFastError):
    """An annotation file that cannot be read; the message names the file and the line."""


class DecodeError(SlowFastError):
    """A video that cannot be decoded.

    Args:
        path: the video file.
        reason: a short category, by which reports count the errors, such as ``missing`` or ``truncated``.
        detail: the message of the decoder.
    """

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        self.path = path
        self.reason = reason
        self.detail = detail
        super().__init__(path, reason, detail)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


class CheckpointError(SlowFastError):
    """A checkpoint that is missing, damaged, or does not fit the model."""


class ModelError(SlowFastError):
    """A model that cannot be built with the given arguments."""


class InputError(SlowFastError, ValueError):
    """Frames, features, positions or a mask that a model or function does not accept."""


class NotFiniteError(InputError):
    """A result of a model that is NaN or infinite.

    Args:
        message: the problem and its remedy.
        clips: indices of the affected clips in the batch.
    """

    def __init__(self, message: str, clips: Sequence[int]) -> None:
        self.clips = tuple(clips)
        super().__init__(message, self.clips)  # by which another process makes its copy

    def __str__(self) -> str:
        return str(self.args[0])


class DistributedError(SlowFastError):
    """A failure to start, connect or keep the processes of a distributed run."""


class DeviceError(SlowFastError):
    """A GPU, or the memory of one or of the node, that cannot be used or is full."""


class OutputError(SlowFastError):
    """An output folder that cannot be written to.

    Args:
        folder: ``OUTPUT_DIR``.
        error: the error of the operating system.
    """

    def __init__(self, folder: str, error: OSError) -> None:
        where = f" to {error.filename}" if error.filename else ""
        super().__init__(
            f"OUTPUT_DIR = {folder!r}: cannot be written{where} ({error.strerror}); make room or restore "
            "the access there, or choose another folder. Checkpoints saved earlier are intact"
        )


class DataError(SlowFastError):
    """A data set that cannot be used, for instance because too many of its videos are broken."""


class TrainingError(SlowFastError):
    """A training run that cannot continue, for instance because its loss is not finite."""


def shown(value: object) -> str:
    """Returns a wrong value as a message shows it: numbers without their type, of a long one the beginning.

    >>> shown("high"), shown("x" * 1000)[-24:]
    ("'high'", 'xxx … (1,002 characters)')
    """
    text = str(value) if isinstance(value, Number) else repr(value)  # NumPy's repr is np.float64(-1.0)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} … ({len(text):,} characters)"


def first_line(error: object) -> str:
    """Returns the first line of an error's message; for an empty message the name of the error's type.

    >>> first_line(ValueError("\\nwrong shape\\nin layer 3")), first_line(RuntimeError())
    ('wrong shape', 'RuntimeError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def check_positive(**values: float | None) -> None:
    """Checks that each value is a finite number above 0, or None.

    Raises:
        InputError: otherwise; names the first wrong value.
    """
    for name, value in values.items():
        try:
            is_valid = value is None or 0 < value < math.inf
        except TypeError:  # a text, or another object
            is_valid = False
        if not is_valid:
            raise InputError(f"{name} = {shown(value)}: must be above 0 and finite")


def describe_error(error: BaseException) -> str:
    """Returns the message of an error that a user can fix, and the traceback of any other error."""
    return str(error) if isinstance(error, SlowFastError) else "".join(traceback.format_exception(error))


def place_of(trace: TracebackType | None) -> str:
    """Returns the innermost line of a user's code in a traceback, as " in FILE, line N"; "" without one."""
    frames = [f for f in traceback.extract_tb(trace) if "importlib" not in f.filename]
    frames = [f for f in frames if not f.filename.startswith(_OWN_FOLDER)]
    libraries = ("site-packages", _PROJECTS)
    written = [f for f in frames if not any(library in f.filename for library in libraries)] or frames
    return f" in {written[-1].filename}, line {written[-1].lineno}" if written else ""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun.

    Args:
        noun: the singular.
        plural: where it is not the noun with an s.

    >>> counted(1, "video"), counted(2, "video"), counted(0, "class", "classes")
    ('1 video', '2 videos', '0 classes')
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def one_of(choices: Sequence[object]) -> str:
    """Returns choices, one or more, as a list.

    >>> one_of([".png", ".svg", ".pdf"]), one_of([1])
    ('.png, .svg or .pdf', '1')
    """
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last


def did_you_mean(
    name: str, known: Sequence[str] | Mapping[str, str], *, otherwise: str, cutoff: float = 0.5
) -> str:
    """Returns the end of a message about an unknown name: the names that may have been meant.

    Args:
        known: the known names; a mapping gives their form in the message.
        otherwise: the end of the message where no known name is near.
        cutoff: smallest similarity from 0 to 1, see ``difflib.get_close_matches``.
    """
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
    forms = known if isinstance(known, Mapping) else {}
    return f"did you mean {' or '.join(forms.get(match, match) for match in near)}?" if near else otherwise
