"""Messages about videos whose files are missing, which mostly means wrong paths in a list."""

from __future__ import annotations

import itertools
import os

from slowfast.datasets.annotations import PathTable
from slowfast.errors import DataError

# Videos whose files are looked for before a run.
_PROBED_VIDEOS = 100


def describe_base_folder(prefix: str) -> str:
    """Returns the folder in which relative paths of a list start, and the key that sets it."""
    folder = os.path.normpath(os.path.join(os.getcwd(), prefix))
    return f"relative paths start in {folder} (DATA.PATH_PREFIX = {prefix!r})"


def check_videos_exist(paths: PathTable) -> None:
    """Raises ``DataError`` where none of the first videos exists.

    Args:
        paths: of the videos.
    """
    first = list(itertools.islice(paths, _PROBED_VIDEOS))
    if not first or any(os.path.exists(path) for path in first):
        return
    count = f"the first {len(first)} of {len(paths)}" if len(first) < len(paths) else f"all {len(first)}"
    base = describe_base_folder(paths.prefix)
    problem = f"{count} videos of the list are missing, such as {first[0]!r}; {base}"
    # Lists of other programs have the number of frames between path and label.
    shortened = [path.rsplit(None, 1)[0] for path in first if len(path.split()) > 1]
    if existing := [path for path in shortened if os.path.exists(path)]:
        raise DataError(
            f"{problem}; but {existing[0]!r} exists: add a first line to the list that names its columns, "
            "such as 'path total_frames label'"
        )
    remedy = "correct the paths of the list, or set DATA.PATH_PREFIX to the folder of the videos"
    raise DataError(f"{problem}; {remedy}")
