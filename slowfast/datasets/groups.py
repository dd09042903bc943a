"""Groups of videos that are alike, such as the clips of one source video, one person or one place.

Accuracy over videos of few groups is less certain than their number suggests, and folds must not divide a
group. This module imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from slowfast.errors import DataError


def groups_by_pattern(paths: Sequence[str], pattern: str, *, name: str = "--group-by") -> list[str]:
    """Returns the group of each path: the first group that a regular expression captures, or its match.

    An empty pattern makes each path a group of its own.

    Args:
        name: of the option or key that gives the pattern, for messages.

    Raises:
        DataError: for an expression that is not valid or does not match a path.
    """
    if not pattern:
        return list(paths)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"{name} {pattern}: must be a regular expression ({error}); check its brackets"
        ) from error
    groups = []
    for path in paths:
        match = expression.search(path)
        group = None if match is None else match.group(1) if match.groups() else match.group()
        if group is None:  # without a match, or with an optional group that takes no part in it
            raise DataError(f"{name} {pattern}: must match every path, and does not match {path}")
        groups.append(group)
    return groups
