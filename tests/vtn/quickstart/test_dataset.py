"""The data set of the quickstart: balanced, reproducible, no photograph in two splits, motions in pairs."""

import json
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from slowfast.errors import DataError
from slowfast.files import TEMPORARY_MARK
from vtn.quickstart import photographs
from vtn.quickstart.dataset import (
    SPLITS,
    DatasetSettings,
    draw_clip,
    generate_dataset,
    plan_clip,
    plan_dataset,
    write_clip,
)
from vtn.quickstart.motion import CLASSES, PAIRS, Motion, plan_motion
from vtn.quickstart.photographs import PHOTOGRAPHS, load_photograph

TINY = DatasetSettings(train=16, val=8, test=8, seed=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart") / "data"
    assert generate_dataset(folder, TINY, workers=1) == 32
    return folder


def test_every_listed_video_is_h264_and_decodes_as_planned(dataset: Path) -> None:
    plans = {str(dataset / plan.path): plan for plan in plan_dataset(TINY)}
    listed = [
        line.rsplit(" ", 1)
        for split in SPLITS
        for line in (dataset / f"{split}.csv").read_text().splitlines()
    ]
    assert len(listed) == len(plans) == 32
    for path, label in listed:
        plan = plans[path]
        with av.open(path) as container:
            stream = container.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            assert stream.codec_context.name == "h264"
            assert stream.average_rate == plan.fps
        assert int(label) == plan.label
        assert np.shape(frames) == (plan.num_frames, *plan.size, 3)
        # Compression changes little: the frames of the file are those that were drawn.
        difference = np.abs(np.float32(frames) - draw_clip(plan)).mean()
        assert difference < 10


def test_classes_are_balanced_and_named(dataset: Path) -> None:
    assert json.loads((dataset / "classes.json").read_text()) == {name: k for k, name in enumerate(CLASSES)}
    for split in SPLITS:
        labels = [line.split()[-1] for line in (dataset / f"{split}.csv").read_text().splitlines()]
        counts = np.bincount(np.array(labels, int), minlength=len(CLASSES))
        assert counts.min() == counts.max() > 0


def test_no_photograph_is_in_two_splits() -> None:
    for one, other in combinations(SPLITS, 2):
        assert not set(PHOTOGRAPHS[one]) & set(PHOTOGRAPHS[other])
    for split in SPLITS:
        for index in range(200):
            plan = plan_clip(split, index, seed=1)
            assert {plan.background, plan.object_photograph} <= set(PHOTOGRAPHS[split])
            assert plan.background != plan.object_photograph


def test_eight_evenly_spaced_positions_are_whole_numbers() -> None:
    """Otherwise truncation would move frames towards the start, and reveal the direction of time."""
    for index in range(200):
        num_frames = plan_clip("test", index, seed=1).num_frames
        positions = np.linspace(0, num_frames - 1, 8)
        np.testing.assert_allclose(positions, np.round(positions))


def test_the_seed_determines_the_bytes(dataset: Path, tmp_path: Path) -> None:
    plan = plan_clip("test", 0, TINY.seed)
    write_clip(str(tmp_path), plan)
    assert (tmp_path / plan.path).read_bytes() == (dataset / plan.path).read_bytes()
    assert not np.array_equal(draw_clip(plan), draw_clip(plan_clip("test", 0, TINY.seed + 1)))


def test_only_missing_videos_are_written_again(dataset: Path) -> None:
    plan = plan_clip("val", 5, TINY.seed)
    path = dataset / plan.path
    content = path.read_bytes()
    path.unlink()
    leftover = path.with_name(f".00005{TEMPORARY_MARK}1.mp4")  # of a process that was killed
    leftover.touch()
    untouched = dataset / plan_clip("val", 6, TINY.seed).path
    before = untouched.stat().st_mtime_ns

    assert generate_dataset(dataset, TINY, workers=1) == 1
    assert path.read_bytes() == content
    assert untouched.stat().st_mtime_ns == before
    assert generate_dataset(dataset, TINY) == 0
    assert not leftover.exists()


def test_a_folder_with_other_settings_is_refused(dataset: Path) -> None:
    with pytest.raises(DataError, match=r"seed=3 \(wanted 4\)"):
        generate_dataset(dataset, DatasetSettings(train=16, val=8, test=8, seed=4))


def test_a_missing_photograph_is_reported_with_package_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(photographs._FILES, "moon", ("skimage", "data/green_cheese.png"))
    load_photograph.cache_clear()
    with pytest.raises(DataError, match=r"green_cheese\.png .* skimage .* pip install"):
        load_photograph("moon")


def test_workers_exit_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from vtn.quickstart.dataset import DatasetSettings, generate_dataset
if __name__ == "__main__":
    generate_dataset(Path({str(tmp_path)!r}), DatasetSettings(train=4000), workers=1)
"""
    script = tmp_path / "generate.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)])
    generator = psutil.Process(process.pid)
    try:
        while not list(tmp_path.glob("train/*/*.mp4")):
            assert process.poll() is None
            time.sleep(0.1)
        workers = generator.children(recursive=True)
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert workers
    assert not alive


def draw(label: int, seed: int = 0, num_frames: int = 15) -> Motion:
    return plan_motion(label, num_frames, np.random.default_rng(seed))


@pytest.mark.parametrize("pair", range(len(PAIRS)))
@pytest.mark.parametrize("seed", range(5))
def test_a_class_is_the_other_of_its_pair_reversed(pair: int, seed: int) -> None:
    forwards, backwards = draw(2 * pair, seed), draw(2 * pair + 1, seed)
    for name in ("centre", "size", "opacity", "camera"):
        np.testing.assert_array_equal(getattr(backwards, name), getattr(forwards, name)[::-1])


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_motion_fits_the_name_of_the_class(label: int) -> None:
    motion = draw(label)
    (dx, dy), growth = motion.centre[-1] - motion.centre[0], motion.size[-1] / motion.size[0]
    change = motion.opacity[-1] - motion.opacity[0]
    observed = {
        "move right": dx > 0.4,
        "move left": dx < -0.4,
        "move down": dy > 0.4,
        "move up": dy < -0.4,
        "approach": growth > 2,
        "recede": growth < 0.5,
        "appear": change == 1,
        "disappear": change == -1,
    }
    assert [name for name, happens in observed.items() if happens] == [CLASSES[label]]
