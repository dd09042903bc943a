"""Divisions by ``slowfast prepare split``: sizes by the fractions, no lists of earlier divisions."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slowfast.cli.prepare import main
from slowfast.preparation.folds import divide
from tests.support.preparation.command import prepare


def write_list(folder: Path, classes: int, videos: int) -> Path:
    """Writes a list with some videos in each of some classes."""
    path = folder / "all.csv"
    path.write_text("".join(f"{c}_{v}.mp4 {c}\n" for c in range(classes) for v in range(videos)))
    return path


def split(listed: Path, *options: str, status: int = 0) -> dict[str, int]:
    """Divides a list into the folder ``out``; returns the number of videos of each part."""
    report = listed.parent / "report.json"
    arguments = ["split", str(listed), str(listed.parent / "out"), *options, "--json", str(report)]
    assert main(arguments) == status
    return json.loads(report.read_text())["sizes"] if status == 0 else {}


def test_small_classes_share_their_remainders(tmp_path: Path) -> None:
    listed = write_list(tmp_path, classes=100, videos=3)
    assert split(listed, "--shares", "train=0.9", "val=0.1") == {"train": 270, "val": 30}
    held = Counter(line.split()[1] for line in (tmp_path / "out/val.csv").read_text().splitlines())
    assert set(held.values()) == {1}  # of different classes


def test_groups_of_one_class_each_share_their_remainders() -> None:
    labels = [str(video // 3) for video in range(300)]
    sizes = Counter(divide(labels, labels, [0.8, 0.1, 0.1], seed=0))
    assert [sizes[part] for part in range(3)] == pytest.approx([240, 30, 30], abs=3)


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.sampled_from([[0.9, 0.1], [0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.25] * 4, [0.62, 0.3, 0.05, 0.03]]),
    st.integers(0, 3),
)
def test_parts_and_their_classes_have_the_wanted_sizes(
    counts: Sequence[int], fractions: Sequence[float], seed: int
) -> None:
    labels = [str(label) for label, count in enumerate(counts) for _ in range(count)]
    parts = divide(labels, list(map(str, range(len(labels)))), fractions, seed=seed)
    wanted = np.outer(fractions, counts)
    found = np.zeros_like(wanted)
    for label, part in zip(labels, parts, strict=True):
        found[part, int(label)] += 1
    assert (np.abs(found - wanted) < 1 + 1e-6).all()
    assert (np.abs(found.sum(1) - wanted.sum(1)) < 2).all()


def test_a_folder_that_cannot_be_written_to_is_an_error_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").touch()  # a file in place of the folder, since root may write to all folders
    split(write_list(tmp_path, classes=2, videos=4), "--shares", "train=0.5", "val=0.5", status=1)
    message = capsys.readouterr().err
    assert message.startswith(f"slowfast prepare split: {tmp_path / 'out'}: cannot be used (")
    assert "restore the access there, or choose another file or folder" in message


def test_an_empty_part_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = write_list(tmp_path, classes=1, videos=4)
    split(listed, "--shares", "train=0.9", "val=0.1", status=1)
    error = capsys.readouterr().err
    assert "--shares val=0.1: gets none of the 4 videos in 4 groups; use a larger fraction" in error
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------- earlier divisions


def test_lists_of_an_earlier_division_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would name videos of the new training list."""
    listed = write_list(tmp_path, classes=2, videos=20)
    split(listed, "--shares", "train=0.5", "val=0.25", "test=0.25")
    old = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    split(listed, "--shares", "train=0.8", "val=0.2", status=1)
    error = capsys.readouterr().err
    assert "out/test.csv: has 10 videos of" in error
    assert "probably of an earlier division; delete it, or choose another folder" in error
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == old


def test_a_test_list_of_other_videos_stays_beside_a_division(tmp_path: Path) -> None:
    listed = write_list(tmp_path, classes=2, videos=20)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/test.csv").write_text("official.mp4 1\n")
    assert split(listed, "--shares", "train=0.8", "val=0.2") == {"train": 32, "val": 8}
    assert (tmp_path / "out/test.csv").read_text() == "official.mp4 1\n"


@pytest.mark.parametrize("options", [("--folds", "3"), ("--shares", "train=0.5", "val=0.3", "test=0.2")])
@pytest.mark.parametrize("failing", range(3))
def test_an_interrupted_division_mixes_no_old_and_new_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], failing: int
) -> None:
    listed = write_list(tmp_path, classes=2, videos=20)
    arguments = ["split", str(listed), str(tmp_path / "out"), *options, "--val-fraction", "0.3"]
    assert main([*arguments, "--seed", "0"]) == 0
    old = {path: path.read_text() for path in (tmp_path / "out").rglob("*.csv")}
    renamed, real = [], os.replace

    def fail(source: str, target: str) -> None:
        renamed.append(target)
        if len(renamed) > failing:
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "replace", fail)
        assert main([*arguments, "--seed", "1"]) == 1
    left = {path: path.read_text() for path in (tmp_path / "out").rglob("*.csv")}
    assert left == old or not left.items() & old.items()


@pytest.mark.parametrize("shares", [[0.9, 0.1], [0.7, 0.15, 0.15], [0.1, 0.9]])
def test_the_largest_part_has_a_video_of_each_class(shares: list[float]) -> None:
    """A class of one video cannot be learned where it is only validated."""
    labels = [str(n) for n in range(40)] + ["many"] * 60
    parts = divide(labels, [str(n) for n in range(100)], shares, seed=3)
    largest = shares.index(max(shares))
    assert {label for label, part in zip(labels, parts, strict=True) if part == largest} == set(labels)


def test_split_keeps_lines_classes_and_groups(tmp_path: Path) -> None:
    lines = [f"g{group}_{i}.mp4 {group % 2} 0 1" for group in range(20) for i in range(5)]
    (tmp_path / "all.csv").write_text("path label start end\n" + "\n".join(lines) + "\n")
    shares = ("--shares", "train=0.8", "val=0.2", "--group-by", r"(g\d+)_")
    report = prepare("split", tmp_path / "all.csv", tmp_path, *shares)
    assert report["classes"] == {"train": {"0": 40, "1": 40}, "val": {"0": 10, "1": 10}}
    parts = {name: (tmp_path / f"{name}.csv").read_text().splitlines() for name in ("train", "val")}
    assert parts["train"][0] == parts["val"][0] == "path label start end"
    assert sorted(parts["train"][1:] + parts["val"][1:]) == sorted(lines)
    groups = {name: {line.split("_")[0] for line in part[1:]} for name, part in parts.items()}
    assert not groups["train"] & groups["val"]


def test_split_warns_of_missing_classes_and_says_what_it_replaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all.csv").write_text("".join(f"{i}.mp4 {i % 2}\n" for i in range(10)))
    arguments = ["split", str(tmp_path / "all.csv"), str(tmp_path), "--shares", "train=0.9", "val=0.1"]
    assert main(arguments) == 0
    train, val = capsys.readouterr().out.splitlines()
    assert train == f"{tmp_path}/train.csv: 9 videos (90.0%) in 2 classes"
    assert "val.csv: 1 video (10.0%) in 1 class; warning: lacks 1 class (" in val
    assert main(arguments) == 0
    assert [
        line.endswith("; an earlier list was replaced") for line in capsys.readouterr().out.splitlines()
    ] == [True, True]


def test_divide_is_seeded_and_random() -> None:
    labels, videos = [str(i % 10) for i in range(200)], [str(i) for i in range(200)]
    parts = divide(labels, videos, [0.7, 0.2, 0.1], seed=1)
    assert parts == divide(labels, videos, [0.7, 0.2, 0.1], seed=1)
    assert parts != divide(labels, videos, [0.7, 0.2, 0.1], seed=2)


@pytest.mark.parametrize("options", [("--shares", "train=0.5", "val=0.5"), ("--folds", "2")])
def test_the_names_of_the_classes_go_with_the_lists(tmp_path: Path, options: Sequence[str]) -> None:
    """Training looks for them beside its lists."""
    listed = write_list(tmp_path, classes=2, videos=6)
    names = '{"jump": 0, "run": 1}'
    (tmp_path / "classes.json").write_text(names)
    prepare("split", listed, tmp_path / "out", *options)
    folders = {path.parent for path in (tmp_path / "out").rglob("*.csv")}
    assert [(folder / "classes.json").read_text() for folder in folders] == [names] * len(folders)


def test_other_names_of_classes_are_kept_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = write_list(tmp_path, classes=2, videos=6)
    (tmp_path / "classes.json").write_text('{"jump": 0, "run": 1}')
    (tmp_path / "out").mkdir()
    kept = tmp_path / "out/classes.json"
    kept.write_text('{"run": 0, "jump": 1}')
    prepare("split", listed, tmp_path / "out", "--shares", "train=0.5", "val=0.5")
    assert kept.read_text() == '{"run": 0, "jump": 1}'
    assert (
        f"warning: {kept} differs from {tmp_path / 'classes.json'}; delete the one" in capsys.readouterr().out
    )


@pytest.mark.parametrize("joint", [",", ";"])
def test_classes_of_videos_with_several_are_counted_one_by_one(
    tmp_path: Path, joint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``0,1`` is not a class: a part without that combination lacks nothing if it has both classes."""
    labels = [(0, 1), (1,), (0,), (2, 0)]
    listed = tmp_path / "all.csv"
    listed.write_text("".join(f"{i}.mp4 {joint.join(map(str, own))}\n" for i, own in enumerate(labels)))
    split(listed, "--shares", "train=0.5", "val=0.5")
    lines = capsys.readouterr().out.splitlines()
    for line, name in zip(lines, ("train", "val"), strict=False):
        rows = (tmp_path / f"out/{name}.csv").read_text().splitlines()
        held = {int(label) for row in rows for label in row.split()[1].split(joint)}
        missing = sorted({0, 1, 2} - held)
        assert f"2 videos (50.0%) in {len(held)} class" in line
        assert ("warning: lacks" in line) == bool(missing)
        assert not missing or f"({', '.join(map(str, missing))})" in line
    prepare("split", listed, tmp_path / "folds", "--folds", "4")
    shown = capsys.readouterr().out
    assert "tests classes that are not in its training: 2 (1)" in shown
    assert f"0{joint}1" not in shown
    assert f"2{joint}0" not in shown
    prepare("stats", listed)
    assert "3 classes with 1 to 3 videos" in capsys.readouterr().out


def test_one_video_under_two_paths_stays_in_one_part(tmp_path: Path) -> None:
    """As in lists that were joined; otherwise videos of the training would be tested."""
    listed = tmp_path / "all.csv"
    listed.write_text(
        "".join(f"{place}v/{i}.mp4 {i % 2}\n" for place in ("", "./", "v/../") for i in range(20))
    )
    split(listed, "--shares", "train=0.5", "val=0.5")
    train, val = (
        {
            os.path.normpath(line.split()[0])
            for line in (tmp_path / f"out/{name}.csv").read_text().splitlines()
        }
        for name in ("train", "val")
    )
    assert len(train | val) == 20
    assert not train & val
