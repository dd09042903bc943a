"""Messages about videos that are broken, or whose files are missing by wrong paths in a list."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Sequence

from slowfast.datasets.annotations import PathTable
from slowfast.datasets.clip import BrokenVideo
from slowfast.errors import DataError
from slowfast.log import get_logger

_logger = get_logger(__name__)

_MAX_LISTED = 20
# Videos whose files are looked for before a run.
_PROBED_VIDEOS = 100
# Columns that may stand between path and label.
_EXTRA_COLUMNS = 3


def log_broken(videos: Collection[BrokenVideo], heading: str) -> None:
    """Logs broken videos with path and reason, at most 20 of them; nothing without broken videos."""
    if not videos:
        return
    lines = [video.describe() for video in itertools.islice(videos, _MAX_LISTED)]
    if len(videos) > _MAX_LISTED:
        lines.append(f"… and {len(videos) - _MAX_LISTED} more")
    _logger.warning("%s: %d broken:\n  %s", heading, len(videos), "\n  ".join(lines))


def describe_base_folder(prefix: str, key: str = "DATA.PATH_PREFIX") -> str:
    """Returns the folder in which relative paths of a list start, and the key that sets it."""
    folder = os.path.normpath(os.path.join(os.getcwd(), prefix))
    return f"relative paths start in {folder} ({key} = {prefix!r})"


def check_videos_exist(paths: PathTable, *, prefix_key: str = "DATA.PATH_PREFIX") -> None:
    """Raises ``DataError`` where none of the first videos exists.

    Args:
        paths: of the videos.
        prefix_key: the config key or option that sets the folder of relative paths, for messages.
    """
    first = list(itertools.islice(paths, _PROBED_VIDEOS))
    if not first or any(os.path.exists(path) for path in first):
        return
    count = f"the first {len(first)} of {len(paths)}" if len(first) < len(paths) else f"all {len(first)}"
    several = f"{count} videos of the list are missing"
    missing = several if len(paths) > 1 else "the video of the list is missing"
    base = describe_base_folder(paths.prefix, prefix_key)
    problem = f"{missing}, such as {first[0]!r}; {base}"
    if existing := _find_shorter_path(first):
        raise DataError(
            f"{problem}; but {existing!r} exists: add a first line to the list that names its columns, such "
            "as 'path total_frames label' or 'path start end label', or join several labels by commas"
        )
    if cause := _explain_path(first[0]):
        raise DataError(f"{problem}; {cause}")
    remedy = f"correct the paths of the list, or set {prefix_key} to the folder of the videos"
    raise DataError(f"{problem}; {remedy}")


def _find_shorter_path(paths: Sequence[str]) -> str:
    """Returns the first path that exists without its last columns; empty where none does.

    Lists of other programs have the number of frames, or a segment, between path and label.
    """
    for path in paths:
        for separator in (None, ",", ";", "\t", "|"):
            for columns in range(1, _EXTRA_COLUMNS + 1):
                shorter = path.rsplit(separator, columns)
                if len(shorter) == columns + 1 and os.path.exists(shorter[0]):
                    return shorter[0]
    return ""


def _explain_path(path: str) -> str:
    """Returns why a path may be missing, with the remedy; empty if unknown."""
    if "://" in path:
        return "it is an address: download the videos and list their files"
    if path.startswith(("~", "$")) or os.sep + "~" in path:
        return "'~' and variables are not replaced: write the full path"
    if "\\" in path:
        return "folders are separated by '/' here: replace each backslash"
    if any("\udc80" <= character <= "\udcff" for character in path):
        return "the list is not UTF-8 text: save it as UTF-8"
    return ""
