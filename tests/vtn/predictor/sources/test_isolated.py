"""Videos whose decoder hangs or crashes, and all others, read by processes of their own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from slowfast.errors import DecodeError, InputError
from slowfast.video.pyav_video import PyAVVideo
from tests.support.videos import overwrite_packets, write_video
from vtn import Predictor
from vtn.predictor import videos as videos_module
from vtn.predictor.reading import decoders as decoders_module
from vtn.predictor.reading.decoders import Decoder, Decoders
from vtn.predictor.reading.isolated_video import IsolatedSource
from vtn.predictor.videos import FileSource

Isolated = Callable[[float], IsolatedSource]


@pytest.fixture
def isolated(videos: Path) -> Iterator[Isolated]:
    """A function that returns a video of 70 frames with a time limit, which one process reads."""
    with closing(Decoders(1)) as decoders:
        yield lambda limit: IsolatedSource(FileSource(str(videos / "70.mp4"), "70"), limit, decoders)


def test_processes_give_the_results_of_threads(published: Path, videos: Path, tmp_path: Path) -> None:
    """Of good, broken, missing and long videos; the longest is decoded while the model runs."""
    damaged = tmp_path / "damaged.avi"
    write_video(damaged, 40, size=(48, 48), codec="mjpeg", pix_fmt="yuvj420p", fps=10)
    overwrite_packets(damaged, damaged, 30, 40)
    paths = [*sorted(videos.glob("*.mp4")), videos / "missing.mp4", videos, damaged, videos / "05.mp4"]
    predictor = Predictor(published, device="cpu", views=None)
    expected = [one.to_dict() for one in predictor.stream(paths)]
    assert [one.to_dict() for one in predictor.stream(paths, time_limit=600)] == expected
    expected = [one.to_dict() for one in predictor.stream(paths, window_seconds=1)]
    found = [one.to_dict() for one in predictor.stream(paths, window_seconds=1, time_limit=600)]
    assert found == expected
    predictor = Predictor(published, device="cpu", views=(2, 3))
    expected = [one.to_dict() for one in predictor.stream(paths)]
    assert [one.to_dict() for one in predictor.stream(paths, time_limit=600)] == expected


@pytest.mark.parametrize(
    ("is_opened", "window", "work"),
    [(False, None, "it"), (True, None, "a chunk"), (True, 2.0, "a chunk")],
    ids=["while it is opened", "while the model runs", "in windows"],
)
def test_a_decoder_that_hangs_or_crashes_costs_one_video(
    published: Path,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_opened: bool,
    window: float | None,
    work: str,
) -> None:
    """Windows, and views of many frames, are decoded chunk by chunk: the command hung or ended with them."""
    names = ["a.mp4", "hangs.mp4", "b.mp4", "crashes.mp4", "c.mp4"]
    paths = [Path(shutil.copy(videos / "70.mp4", tmp_path / name)) for name in names]
    predictor = Predictor(published, device="cpu", fps=10, workers=2)
    (good,) = predictor.stream(paths[:1], window_seconds=window)
    open_video, read_chunks = videos_module.open_naming_truncated, PyAVVideo.read_chunks

    def end(path: Any) -> None:
        if Path(path).stem == "hangs":
            time.sleep(1000)
        if Path(path).stem == "crashes":
            os.kill(os.getpid(), signal.SIGKILL)

    def open_or_end(path: Any, **options: Any) -> Any:
        if not is_opened:
            end(path)
        return open_video(path, **options)

    def read_or_end(self: PyAVVideo, *args: Any) -> Iterator[np.ndarray]:
        chunks = read_chunks(self, *args)
        yield next(chunks)
        end(self.name)
        yield from chunks

    monkeypatch.setattr(videos_module, "open_naming_truncated", open_or_end)
    monkeypatch.setattr(PyAVVideo, "read_chunks", read_or_end)
    results = list(predictor.stream(paths, window_seconds=window, time_limit=6))
    assert [result.reason for result in results] == ["", "hung", "", "killed its worker", ""]
    assert results[1].error == f"hung (reading {work} did not end within 6 s; --time-limit allows more)"
    assert results[3].error == "killed its worker (the decoder crashed or took all memory)"
    for result in results[::2]:
        assert np.array_equal(result.scores, good.scores)


_SCRIPT = """
import multiprocessing
multiprocessing.set_start_method("spawn", force=True)
from vtn.predictor.reading.decoders import Decoders
Decoders(1).take()
"""


def test_a_script_that_a_decoder_would_run_is_told_how_to_prevent_it(tmp_path: Path) -> None:
    """Each video would be reported as one that crashes its decoder."""
    (tmp_path / "script.py").write_text(_SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, env=environment, check=False
    )
    assert 'under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


def test_one_process_decodes_video_after_video(
    published: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [Path(shutil.copy(videos / "70.mp4", tmp_path / f"{name}.mp4")) for name in "abcde"]
    paths[2].write_text("not a video")
    open_video, processes = videos_module.open_naming_truncated, tmp_path / "processes"

    def open_noted(path: Any, **options: Any) -> Any:
        with processes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return open_video(path, **options)

    monkeypatch.setattr(videos_module, "open_naming_truncated", open_noted)
    results = list(Predictor(published, device="cpu").stream(paths, window_seconds=1, time_limit=600))
    assert [bool(result.error) for result in results] == [False, False, True, False, False]
    first, second, third, fourth, fifth = map(int, processes.read_text().split())
    assert first == second == third == fourth == fifth != os.getpid()
    assert not [child for child in multiprocessing.active_children() if child.name == "decoder"]


def test_a_process_whose_answer_is_not_taken_decodes_no_other_video(isolated: Isolated) -> None:
    with isolated(600).open() as video:
        expected = video.read(np.arange(3))
        chunks: Any = video.read_chunks(np.arange(20), 2)
        next(chunks)
    with isolated(600).open() as video:
        assert np.array_equal(video.read(np.arange(3)), expected)
    chunks.close()


def kill_decoders() -> None:
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def test_a_process_that_crashes_between_two_requests_is_told_as_in_one(isolated: Isolated) -> None:
    """Its error keeps no buffer.

    Collecting a ``BytesIO`` and a view of it as garbage crashes Python 3.12.1, and 3.13 reports it.
    """
    with isolated(600).open() as video:
        kill_decoders()
        with pytest.raises(DecodeError) as caught:
            video.read(np.arange(3))
    assert caught.value.reason == "killed its worker"
    assert "the decoder crashed or took all memory" in str(caught.value)
    assert not [found for found in gc.get_objects() if type(found).__name__ == "_BytesIOBuffer"]


def test_processes_that_have_crashed_leave_no_open_files(isolated: Isolated) -> None:
    counts = []
    for _ in range(3):
        with suppress(DecodeError), isolated(600).open() as video:
            kill_decoders()
            video.read(np.arange(3))
        counts.append(psutil.Process().num_fds())
    assert counts == counts[:1] * 3


def test_a_crash_is_told_while_other_processes_hold_the_end_of_its_pipe(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that another thread has forked between the creation of the pipe and the closing of its end."""
    kept: list[int] = []

    class Context(ForkContext):
        def Pipe(self, duplex: bool = True) -> Any:  # noqa: N802
            pair = super().Pipe(duplex)
            kept.append(os.dup(pair[1].fileno()))
            return pair

    monkeypatch.setattr(decoders_module, "worker_context", Context)
    with closing(Decoders(1)) as decoders:
        source = IsolatedSource(FileSource(str(videos / "70.mp4"), "70"), 8, decoders)
        with source.open() as video:
            kill_decoders()
            with pytest.raises(DecodeError, match=r"killed its worker .the decoder crashed"):
                video.read(np.arange(3))
    for descriptor in kept:
        os.close(descriptor)


def test_a_process_that_does_not_start_costs_no_video(
    published: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is forked while another thread holds a lock may wait for that lock without an end."""
    monkeypatch.setattr(decoders_module, "_FORK_SECONDS", 2)
    starts = multiprocessing.get_context("fork").Value("i", 0)

    def hang_at_first() -> None:
        starts.value += 1
        time.sleep(1000 if starts.value == 1 else 0)

    monkeypatch.setattr(decoders_module, "prepare_process", hang_at_first)
    predictor = Predictor(published, device="cpu")
    (result,) = predictor.stream([videos / "70.mp4"], window_seconds=1, time_limit=30)
    assert (result.error, starts.value) == ("", 2)


@pytest.mark.parametrize(("method", "limit"), [("forkserver", 10), ("spawn", 120)])
def test_a_process_that_imports_no_modules_has_less_time_for_its_start(
    monkeypatch: pytest.MonkeyPatch, method: str, limit: float
) -> None:
    limits = []
    monkeypatch.setattr(Decoder, "wait", lambda self, seconds: limits.append(seconds) or seconds)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: method)
    with closing(Decoders(1)) as decoders:
        decoders.take()
    assert limits == [limit, limit]


@pytest.mark.parametrize(("name", "window"), [("05.mp4", None), ("70.mp4", None), ("70.mp4", 1.0)])
def test_a_video_whose_decoder_ends_once_is_read_again(
    published: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, name: str, window: float | None
) -> None:
    """A machine short of memory may end it; ahead of the model, chunk by chunk, and for windows."""
    predictor = Predictor(published, device="cpu", fps=10)
    (expected,) = predictor.stream([videos / name], window_seconds=window)
    ends = multiprocessing.get_context("fork").Value("i", 0)

    def end_once(*args: Any) -> Any:
        ends.value += 1
        if ends.value == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(*args)

    method = "read" if name == "05.mp4" else "read_chunks"
    read = getattr(PyAVVideo, method)
    monkeypatch.setattr(PyAVVideo, method, end_once)
    (found,) = predictor.stream([videos / name], window_seconds=window, time_limit=600)
    assert (found.to_dict(), ends.value) == (expected.to_dict(), 2)


def test_all_reads_of_a_video_share_its_limit_and_each_chunk_has_its_own(
    isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "wait", lambda self, seconds: 2.0)
    source = isolated(5)
    with source.open() as video:  # 2 s
        assert len(list(video.read_chunks(np.arange(20), 2))) == 10
    source.open().__exit__()  # 2 s
    with pytest.raises(DecodeError, match=r"hung .reading it did not end within 5 s"), source.open() as video:
        video.read(np.arange(3))  # 6 s


def test_a_video_whose_decoder_ends_once_gets_its_whole_limit_again(
    isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "wait", lambda self, seconds: 2.0)
    source = isolated(7)
    with source.open() as video:  # 2 s
        kill_decoders()
        with pytest.raises(DecodeError, match="killed its worker"):
            video.read(np.arange(3))
    with source.open() as video:  # 2 s
        assert len(video.read(np.arange(3))) == 3  # 4 s, of two answers


def test_a_stream_that_is_closed_waits_for_no_decoder(
    published: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after Ctrl-C."""
    paths = [Path(shutil.copy(videos / "05.mp4", tmp_path / name)) for name in ("a.mp4", "hangs.mp4")]
    read, hangs = PyAVVideo.read, multiprocessing.get_context("fork").Event()

    def read_or_hang(self: PyAVVideo, *args: Any) -> np.ndarray:
        if Path(self.name).stem == "hangs":
            hangs.set()
            time.sleep(1000)
        return read(self, *args)

    monkeypatch.setattr(PyAVVideo, "read", read_or_hang)
    predictor = Predictor(published, device="cpu", workers=2, batch_size=1)
    results = predictor.stream([paths[0], *paths], time_limit=600)
    next(results)
    hangs.wait()
    results.close()
    assert not [child for child in multiprocessing.active_children() if child.name == "decoder"]


def test_no_decoder_starts_after_the_end() -> None:
    """A process that is not forked imports modules for seconds, for which Ctrl-C would wait."""
    with closing(Decoders(0)) as decoders:
        pass
    with pytest.raises(OSError, match="the decoders have been ended"):
        decoders.take()


def test_decoders_are_forked_before_any_thread_reads(
    published: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is forked beside a model that computes may hang."""
    threads, start = [], Decoder.__init__

    def start_noted(self: Decoder) -> None:
        threads.append((threading.current_thread(), threading.active_count()))
        start(self)

    before = threading.active_count()
    monkeypatch.setattr(Decoder, "__init__", start_noted)
    predictor = Predictor(published, device="cpu", workers=2)
    assert len(list(predictor.stream([videos / "05.mp4"] * 3, time_limit=600))) == 3
    assert threads == [(threading.main_thread(), before)] * 2


@pytest.mark.parametrize("end", [lambda: time.sleep(1000), lambda: os._exit(1)], ids=["hangs", "crashes"])
def test_a_video_that_cannot_be_closed_costs_no_other_one(
    videos: Path, monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    monkeypatch.setattr(decoders_module, "_CLOSE_SECONDS", 0.5)
    monkeypatch.setattr(PyAVVideo, "__exit__", lambda *_: end())
    with closing(Decoders(1)) as decoders:
        source = IsolatedSource(FileSource(str(videos / "70.mp4"), "70"), 8, decoders)
        with source.open() as video:
            expected = video.read(np.arange(3))
        with source.open() as video:
            assert np.array_equal(video.read(np.arange(3)), expected)


@pytest.mark.parametrize("limit", [0, -1, np.float64(-1), float("inf"), float("nan")])
def test_a_limit_must_be_above_0(published: Path, videos: Path, limit: float) -> None:
    with pytest.raises(InputError, match=f"time_limit = {limit}: must be above 0 and finite"):
        list(Predictor(published, device="cpu").stream([videos / "05.mp4"], time_limit=limit))


def test_frames_in_memory_have_no_limit(published: Path) -> None:
    with pytest.raises(InputError, match="needs paths or addresses, not a ndarray; leave the limit out"):
        list(Predictor(published, device="cpu").stream([np.zeros((2, 8, 8, 3), np.uint8)], time_limit=1))
