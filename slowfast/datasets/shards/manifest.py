"""The file that ``slowfast prepare shard`` writes beside its shards, by which missing ones are noticed.

Shards of other programs have none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from slowfast.errors import AnnotationError
from slowfast.files import parse_json, write_text

MANIFEST = "shards.json"
# Version of the shards; a writer continues only shards of its own version.
FORMAT = 1


@dataclass(frozen=True)
class ShardManifest:
    """The description of a folder of shards.

    Attributes:
        source: the list that the shards were made of.
        settings: hash of the videos and options that decide their content.
        shards: number of shards.
        videos: number of videos in all shards.
        complete: whether all shards are written.
        left_out: (path, problem, detail) of the videos that could not be copied.
    """

    source: str
    settings: str
    shards: int
    videos: int
    complete: bool = False
    left_out: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def read(cls, folder: str) -> Self | None:
        """Reads the manifest of a folder; None where it has none.

        Raises:
            AnnotationError: where the file cannot be read, is damaged, or is of another version.
        """
        path = Path(folder, MANIFEST)
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
            if (version := content.pop("format")) != FORMAT:
                raise AnnotationError(f"{path}: format = {version}: must be {FORMAT}; write the shards again")
            content["left_out"] = tuple(tuple(video) for video in content["left_out"])
            manifest = cls(**content)
            if not isinstance(manifest.shards, int):
                raise TypeError(f"shards = {manifest.shards!r}: must be a number")
            return manifest
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AnnotationError(
                f"{path}: cannot be read ({type(error).__name__}: {error}); write the shards again with "
                "slowfast prepare shard, or delete the file if they are complete"
            ) from error

    def write(self, folder: str) -> None:
        """Writes the manifest of a folder atomically."""
        content = {"format": FORMAT, **asdict(self)}
        write_text(os.path.join(folder, MANIFEST), json.dumps(content, indent=1) + "\n")

    def check(self, folder: str) -> None:
        """Raises an AnnotationError for shards whose writing was interrupted."""
        if not self.complete:
            raise AnnotationError(
                f"{folder}: not all of its {self.shards} shards are written; run the same slowfast prepare "
                f"shard again, which continues with {self.source}"
            )

    def check_all_present(self, shards: Sequence[str]) -> None:
        """Raises an AnnotationError where some of the shards of the folder are missing."""
        if self.complete and len(shards) < self.shards:
            raise AnnotationError(
                f"{os.path.dirname(shards[0])}: has {len(shards)} of {self.shards} shards; copy the others, "
                "or name those to read by a pattern such as shard-{000000..000010}.tar"
            )
