"""The claim of a cache's folder: its manifest, and marks of the extractions that write there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import Timeout

from slowfast.distributed.world import World
from slowfast.errors import ConfigError, DataError, SlowFastError
from slowfast.extraction.plan import holds_features
from slowfast.features.cache import MANIFEST, Manifest
from slowfast.files import delete_unfinished, hold_lock

# A lock file with this name is held while an extraction runs; the hash of its settings follows.
_MARK = ".extracting-"
# Seconds to wait for an extraction that reads or writes the manifest.
_LOCK_SECONDS = 60.0


@contextmanager
def claim_folder(folder: Path, world: World, wanted: Manifest) -> Iterator[Manifest]:
    """Writes the manifest, or adds variants to the existing one, and marks the folder while the block runs.

    Yields the same manifest on all ranks. Several extractions with the same settings may write to one folder.

    Raises:
        ConfigError: where the folder holds features with other settings, or another extraction with other
            settings is running; lists what differs.
        DataError: where the folder cannot be written.
    """
    with ExitStack() as stack:
        result: Manifest | SlowFastError = wanted
        if world.is_main:
            try:
                result = _claim(folder, wanted, stack)
            except SlowFastError as error:
                result = error
        result = world.all_gather_objects(result)[0]
        if isinstance(result, SlowFastError):
            raise result
        yield result


def _claim(folder: Path, wanted: Manifest, stack: ExitStack) -> Manifest:
    in_use = DataError(
        f"DATA.FEATURES = {str(folder)!r}: another process has been writing its {MANIFEST} for a minute; end "
        "that process, or choose another folder"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder / ".manifest.lock", _LOCK_SECONDS, in_use):
            running, killed = _count_marks(folder)
            if killed and not running:
                delete_unfinished(folder, with_folders=True)
            present = Manifest.read(folder) if (folder / MANIFEST).exists() else None
            manifest = _merge(folder, present, wanted, is_running=running > 0)
            if manifest != present:  # a complete cache may be on a disk that can only be read
                manifest.write(folder)
            # A name of its own: several extractions may have the same settings.
            mark = folder / f"{_MARK}{manifest.settings_hash}-{os.getpid()}-{secrets.token_hex(4)}"
            stack.enter_context(hold_lock(mark, 0))
    except OSError as error:
        raise DataError(
            f"DATA.FEATURES = {str(folder)!r}: cannot be written ({error.strerror}); choose another folder, "
            "or, where its features are complete, leave out the extraction"
        ) from error
    return manifest


def _merge(folder: Path, present: Manifest | None, wanted: Manifest, *, is_running: bool) -> Manifest:
    """Returns the manifest to have: ``wanted``, with the variants that the folder has or will have."""
    if present is None:
        return wanted
    complete = holds_features(folder, present)
    if not complete and not is_running:
        return wanted
    if different := present.differences(wanted):
        state = "holds other features" if complete else "is being filled with other features"
        raise ConfigError(
            f"DATA.FEATURES = {str(folder)!r}: must be a folder without other features, and it {state}: "
            f"{'; '.join(different)}; name another folder, or delete this one"
        )
    return replace(present, variants=tuple(dict.fromkeys([*present.variants, *wanted.variants])))


def _count_marks(folder: Path) -> tuple[int, int]:
    """Counts the extractions that write to the folder and those that were killed, whose marks are deleted."""
    running = killed = 0
    for mark in folder.glob(f"{_MARK}*"):
        try:
            with hold_lock(mark, 0):
                killed += 1
        except Timeout:
            running += 1
    return running, killed
