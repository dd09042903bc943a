"""A publication replaces the earlier one of its name as a whole, and removes nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import vtn
from slowfast.checkpoint.storage import read_checkpoint
from slowfast.errors import CheckpointError
from tests.support.tiny_models import FOLDER_FILES, publish_tiny
from vtn.publishing.publish import Published, publish
from vtn.publishing.zoo import file_sha256


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints of one model with different weights."""
    folder = tmp_path_factory.mktemp("run")
    publish_tiny(folder)
    (first,) = (folder / "run").rglob("*.pyth")
    content = read_checkpoint(first)
    content["model_state"]["cls_token"] += 1
    second = folder / "second.pyth"
    torch.save(content, second)
    return first, second


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def expected_files(published: Published) -> set[str]:
    assert published.folder is not None
    return {published.checkpoint.name, ".MINE.published.json", *(f"MINE/{name}" for name in FOLDER_FILES)}


def test_nothing_of_the_earlier_publication_is_left(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (publish(path, tmp_path, name="MINE") for path in checkpoints)
    assert not first.checkpoint.exists()
    assert files_in(tmp_path) == expected_files(second)
    assert second.folder is not None
    assert vtn.VTN.from_pretrained(second.folder).cls_token.mean() > 0.5
    again = publish(checkpoints[1], tmp_path, name="MINE")
    assert (again.checkpoint, files_in(tmp_path)) == (second.checkpoint, expected_files(second))


def test_files_of_the_user_stay(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    first = publish(checkpoints[0], tmp_path, name="MINE")
    other = publish(checkpoints[0], tmp_path, name="OTHER")
    assert first.folder is not None
    own = {
        "MINE/README.md": "edited",
        "MINE/notes.txt": "new",
        "MINE-00000000.pyth": "of another publication",
        "MINE.txt": "new",
    }
    for name, text in own.items():
        (tmp_path / name).write_text(text)
    second = publish(checkpoints[1], tmp_path, name="MINE")
    assert {name: (tmp_path / name).read_text() for name in own} == own
    assert other.checkpoint.exists()
    assert expected_files(second) <= files_in(tmp_path)
    third = publish(checkpoints[0], tmp_path, name="MINE")  # the card is still the user's
    assert {name: (tmp_path / name).read_text() for name in own} == own
    assert (third.checkpoint.exists(), second.checkpoint.exists()) == (True, False)


def test_a_changed_file_of_the_earlier_publication_stays(
    checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    first = publish(checkpoints[0], tmp_path, name="MINE")
    with first.checkpoint.open("ab") as file:
        file.write(b"x")
    publish(checkpoints[1], tmp_path, name="MINE")
    assert first.checkpoint.exists()


def test_the_published_file_is_not_removed(checkpoints: tuple[Path, Path], tmp_path: Path) -> None:
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps(["up", "down", "still"]))
    first = publish(checkpoints[0], tmp_path, name="MINE")
    second = publish(first.checkpoint, tmp_path, name="MINE", class_names_path=classes)
    assert first.checkpoint.exists()
    assert second.checkpoint != first.checkpoint


def test_a_failure_leaves_the_earlier_publication(
    checkpoints: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(checkpoints[0], tmp_path, name="MINE")
    before = {name: file_sha256(tmp_path / name) for name in files_in(tmp_path)}

    def fail(model: object, folder: Path) -> None:
        raise OSError(28, "No space left on device", str(Path(folder, "model.safetensors")))

    with monkeypatch.context() as patch:
        patch.setattr(vtn.VTN, "_save_pretrained", fail)
        path = tmp_path / "MINE" / "model.safetensors"
        with pytest.raises(CheckpointError, match=f"{path}: cannot be written .No space left"):
            publish(checkpoints[1], tmp_path, name="MINE")
    assert {name: file_sha256(tmp_path / name) for name in files_in(tmp_path)} == before
    assert vtn.VTN.from_pretrained(first.folder or "").cls_token.mean() < 0.5


def test_files_of_an_interrupted_replacement_are_removed_by_the_next_one(
    checkpoints: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(checkpoints[0], tmp_path, name="MINE")
    replace = os.replace

    def stop(source: Path, target: Path) -> None:
        if target == tmp_path / "MINE" / "config.json":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            publish(checkpoints[1], tmp_path, name="MINE")
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        vtn.VTN.from_pretrained(tmp_path / "MINE")  # neither of the two
    third = publish(checkpoints[0], tmp_path, name="MINE")
    assert files_in(tmp_path) == expected_files(third)


def test_a_record_from_elsewhere_removes_no_other_file(
    checkpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    victims = ["../victim.txt", "victim.txt", "MINE/../victim.txt", "MINE/../../victim.txt"]
    for path in (tmp_path / "victim.txt", folder / "victim.txt"):
        path.write_text("mine")
    files = {victim: file_sha256(folder / "victim.txt") for victim in victims}
    (folder / ".MINE.published.json").write_text(json.dumps({"files": files}))
    publish(checkpoints[0], folder, name="MINE")
    assert (tmp_path / "victim.txt").exists()
    assert (folder / "victim.txt").exists()
    for damaged in ("", "[]", '{"files": 3}', '{"files": {"MINE-00000000.pyth": 3}}'):
        (folder / ".MINE.published.json").write_text(damaged)
        publish(checkpoints[0], folder, name="MINE")
