"""Tables of text for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tqdm.utils import disp_len


def align_columns(rows: Sequence[Sequence[str]], *, left: Collection[int] = ()) -> list[str]:
    """Returns one line of text per row, with two spaces between columns of equal width on a terminal.

    Args:
        rows: cells of each row; all rows have the same number of cells.
        left: indices of the columns that are aligned left; all others are aligned right.

    >>> print("\\n".join(align_columns([("model", "GMACs"), ("VTN", "4218")], left=(0,))))
    model  GMACs
    VTN     4218
    """
    widths = [max(map(disp_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padding = [" " * (width - disp_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [
            cell + pad if column in left else pad + cell
            for column, (cell, pad) in enumerate(zip(row, padding, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
