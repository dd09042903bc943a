"""Broken files: the right frames or a classified error within seconds, and no leaked handles or memory."""

from __future__ import annotations

import gc
import io
import os
import runpy
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch

from slowfast.datasets.annotations import Annotations, PathTable
from slowfast.datasets.loading.loader import ClipLoader
from slowfast.datasets.loading.samplers import EvalSampler
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.datasets.views.view_reader import ViewReader, WholeVideoViews
from slowfast.errors import DecodeError
from slowfast.video import container
from slowfast.video.decoding import decode, open_video
from slowfast.video.placement import full_frame
from tests.support.broken_corpus import make_corpus
from tests.support.corpus.case import Case
from tests.support.videos import read_stamps, write_video

SECONDS = 8.0  # limit per file; on two busy cores


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def outcome(case: Case) -> np.ndarray | Exception:
    """Returns up to 16 small frames spread over the video; or the error."""
    try:
        with open_video(case.path) as video:
            total = video.times.num_frames
            return video.read(
                np.unique(np.linspace(0, total - 1, min(total, 16)).astype(int)), full_frame(64)
            )
    except Exception as error:
        return error


def stamps_in_order(case: Case) -> list[int]:
    """Returns the numbers that all frames show."""
    with open_video(case.path) as video:
        return read_stamps(video.read(np.arange(video.times.num_frames)))


def describe_failure(case: Case, found: np.ndarray | Exception) -> str:
    """Describes why an outcome is wrong; empty if it is accepted."""
    if isinstance(found, DecodeError):
        return "" if found.reason in case.reasons else f"{found.reason} ({found.detail})"
    if isinstance(found, Exception):
        return repr(found)
    if case.frames is None and case.at_least is None:
        return ""
    stamps = stamps_in_order(case)
    if case.frames is not None:
        right = stamps == list(range(case.frames))
    else:
        count = case.at_least or 0
        right = stamps[:count] == list(range(count)) and sorted(set(stamps)) == stamps
    return "" if right else f"shows {stamps}"


def test_each_file_gives_its_frames_or_a_classified_error_within_seconds(corpus: dict[str, Case]) -> None:
    assert len(corpus) > 100
    problems = {}
    for name, case in corpus.items():
        begin = time.monotonic()
        found = outcome(case)
        if seconds := (time.monotonic() - begin) // SECONDS:
            problems[name] = f"took {seconds * SECONDS:g} s or more"
        problems[name] = describe_failure(case, found) or problems.get(name, "")
    assert {name: problem for name, problem in problems.items() if problem} == {}


def test_a_loader_reads_the_whole_corpus_and_names_each_broken_file(corpus: dict[str, Case]) -> None:
    """No file stops a worker, and each broken file is reported instead of scored."""
    cases = list(corpus.values())
    labels = torch.zeros(len(cases), dtype=torch.int32)
    paths = PathTable.from_strings([case.path for case in cases])
    views = WholeVideoViews(num_frames=4, target_fps=25, short_side=32, crop_size=32)
    dataset = VideoDataset(Annotations(paths, labels, None, 1), ViewReader(views))
    sampler = EvalSampler(len(cases), 1, 4)
    seen, broken = [], []
    for batch in ClipLoader(dataset, sampler, num_workers=2, sample_timeout=SECONDS):
        seen += batch.video_id.tolist()
        broken += batch.broken
    assert sorted(seen + [video.video_id for video in broken]) == list(range(len(cases)))
    for video in broken:
        assert video.path == cases[video.video_id].path
        assert video.reason in cases[video.video_id].reasons


def test_a_slow_file_like_object_is_read_to_its_end(tmp_path: Path) -> None:
    """Reads from a source like a network connection: a few hundred bytes per call, each after a delay."""
    content = write_video(tmp_path / "far.mp4", 20).read_bytes()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            time.sleep(0.001)
            return super().read(min(size or -1, 700) if size and size > 0 else 700)

    assert read_stamps(decode(Slow(content), indices=[0, 11, 19])) == [0, 11, 19]


def test_a_file_like_object_that_fails_is_a_classified_error(tmp_path: Path) -> None:
    content = write_video(tmp_path / "far.mp4", 20).read_bytes()

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 2000:
                raise ConnectionResetError("the network is gone")
            return super().read(min(size or -1, 700) if size and size > 0 else 700)

    with pytest.raises(DecodeError):
        decode(Failing(content))


@pytest.mark.parametrize("name", ["avisynth", "vapoursynth", "dvdvideo"])
def test_formats_that_other_builds_of_ffmpeg_have_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts are programs, and a DVD is a folder: none of them is opened where FFmpeg could."""
    monkeypatch.setattr(av, "formats_available", av.formats_available | {name})
    assert name not in runpy.run_path(container.__file__)["_FORMATS"].split(",")


def test_files_that_a_playlist_points_at_are_not_opened(corpus: dict[str, Case]) -> None:
    lists = [case for name, case in corpus.items() if name.startswith("playlists/")]
    folder = Path(lists[0].path).parent
    secrets = [folder / name for name in ("secret.mp4", "secret.ts", "secret1.png")]

    def reset_access_times() -> None:
        for secret in secrets:
            os.utime(secret, (1, secret.stat().st_mtime))

    def files_read() -> list[str]:
        return [secret.name for secret in secrets if secret.stat().st_atime != 1]

    reset_access_times()
    secrets[0].read_bytes()
    if files_read() != ["secret.mp4"]:
        pytest.skip("this file system does not record when files are read")
    reset_access_times()
    for case in lists:
        assert isinstance(outcome(case), DecodeError)
        with pytest.raises(DecodeError):
            decode(io.BytesIO(Path(case.path).read_bytes()))
    assert files_read() == []


def read_many(corpus: dict[str, Case], rounds: int) -> None:
    """Reads all files of the corpus but the huge ones, several times."""
    cases = [case for name, case in corpus.items() if not name.startswith("huge/")]
    for _ in range(rounds):
        for case in cases:
            outcome(case)
    gc.collect()


@pytest.mark.parametrize("rounds", [2, pytest.param(12, marks=pytest.mark.faults)])
def test_broken_files_leave_no_handles_and_no_memory(corpus: dict[str, Case], rounds: int) -> None:
    """Two rounds read about 200 files, twelve rounds more than 1,000."""
    process = psutil.Process()
    read_many(corpus, 2)  # loads what is loaded only once
    handles, memory = process.num_fds(), process.memory_info().rss
    read_many(corpus, rounds)
    assert process.num_fds() == handles
    assert process.memory_info().rss - memory < 8 << 20
