"""The result of an export as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from slowfast.errors import counted
from slowfast.files import write_text
from vtn.exported.description import Description
from vtn.exporting.accuracy import Accuracy
from vtn.exporting.comparison import TOLERANCE, Parity, Speed


@dataclass(frozen=True)
class ExportedFile:
    """One written file.

    Attributes:
        path: of the file.
        part: ``backbone``, ``encoder`` or ``model``.
        num_bytes: its size, with weights beside it.
        precision: ``float32`` or ``int8``.
        num_quantized: products with 8-bit weights.
    """

    path: str
    part: str
    num_bytes: int
    precision: str = "float32"
    num_quantized: int = 0


@dataclass(frozen=True)
class ExportReport:
    """All that an export has written and measured.

    Attributes:
        description: of the first file.
        threads: of the processor, for eager and exported passes.
        files, parity, speed, accuracy: see their classes; accuracies are empty where none were asked for.
    """

    description: Description
    threads: int
    files: Sequence[ExportedFile]
    parity: Sequence[Parity]
    speed: Sequence[Speed]
    accuracy: Sequence[Accuracy]

    def describe(self) -> str:
        """Returns the report as text."""
        lines = []
        for file in self.files:
            note = f", int8 in {counted(file.num_quantized, 'product')}" if file.precision == "int8" else ""
            lines.append(f"{file.path}: {file.part}, {file.num_bytes / 1e6:.1f} MB{note}")
        lines.append(f"\nlargest difference from eager (accepted: {TOLERANCE:g})")
        for part in dict.fromkeys(row.part for row in self.parity):
            rows = [row for row in self.parity if row.part == part]
            lines.append(f"  {part}: " + ", ".join(map(_describe_parity, rows)))
        lines.append(f"\ntime of one clip, {counted(self.threads, 'thread')}")
        for speed in self.speed:
            lines.append(
                f"  {speed.file}, {counted(speed.frames, 'frame')}: {speed.file_seconds * 1000:.1f} ms, "
                f"eager {speed.eager_seconds * 1000:.1f} ms: {speed.factor:.2f} times as fast"
            )
        if self.accuracy:
            lines.append("\naccuracy on the test split")
            first = self.accuracy[0]
            for row in self.accuracy:
                change = f", {row.top1 - first.top1:+.2%}" if row is not first else ""
                lines.append(f"  {row.name}: {row.correct} of {row.total}, {row.top1:.2%}{change}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Returns the report as JSON."""
        content = {
            "description": asdict(self.description),
            "threads": self.threads,
            "files": [asdict(file) for file in self.files],
            "tolerance": TOLERANCE,
            "parity": [asdict(row) for row in self.parity],
            "speed": [{**asdict(row), "factor": row.factor} for row in self.speed],
            "accuracy": [{**asdict(row), "top1": row.top1} for row in self.accuracy],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def write(self, path: str | Path) -> None:
        """Writes the report as JSON."""
        write_text(path, self.to_json())


def _describe_parity(row: Parity) -> str:
    found = "not compared (memory)" if row.difference is None else f"{row.difference:.1e}"
    return f"{counted(row.frames, 'frame')} {found}"
