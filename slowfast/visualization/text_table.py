"""Tables of text for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def align_columns(rows: Sequence[Sequence[str]], *, left: Collection[int] = ()) -> list[str]:
    """Returns one line of text per row, with two spaces between columns of equal width.

    Args:
        rows: cells of each row; all rows have the same number of cells.
        left: indices of the columns that are aligned left; all others are aligned right.

    >>> print("\\n".join(align_columns([("model", "GMACs"), ("VTN", "4218")], left=(0,))))
    model  GMACs
    VTN     4218
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
