"""Rows of ``.npy`` files are those that numpy reads, and damaged files give errors."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slowfast.errors import DecodeError
from slowfast.features.array_file import ArrayFile, map_array, read_array


@given(
    rows=st.lists(st.integers(0, 19), max_size=30),
    shape=st.sampled_from([(7,), (3, 5), ()]),
    dtype=st.sampled_from(["<f2", "<f4", ">f4", "<u2"]),
)
def test_rows_in_any_order_are_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], shape: tuple[int, ...], dtype: str
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.npy"
    values = np.random.default_rng(0).integers(0, 999, (20, *shape)).astype(dtype)
    np.save(path, values)
    index = np.array(rows, np.int64)
    with ArrayFile(str(path), "video") as file:
        assert file.shape == values.shape
        found, full = file.read(index), file.read()
    np.testing.assert_array_equal(found, values[index])
    np.testing.assert_array_equal(full, values)
    assert found.dtype.isnative


def test_a_file_that_another_program_shortens_gives_an_error(tmp_path: Path) -> None:
    """With a memory-mapped file, the process would end by a signal."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4000, 8), np.float32))
    with ArrayFile(str(path), "clip.mp4") as file:
        with path.open("r+b") as other:
            other.truncate(2000)
        assert len(file.read(np.arange(3))) == 3
        with pytest.raises(DecodeError, match=r"clip.mp4: damaged features .*ends before its 4000 rows"):
            file.read()


@pytest.mark.parametrize("cut", [0, 7, 40, 129])
def test_incomplete_files_are_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 2), np.float32))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DecodeError, match="damaged features"):
        read_array(str(path), "clip.mp4")


@pytest.mark.parametrize("read", [read_array, map_array])
def test_a_damaged_byte_in_the_header_costs_one_video(tmp_path: Path, read: Any) -> None:
    """The parsers that numpy calls have errors of their own, which would end a run."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 2), np.float32))
    whole = path.read_bytes()
    for place in range(6, 72):
        for byte in b"(-[#\"'0L\x00\xff":
            path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            with suppress(DecodeError):
                assert read(str(path), "clip.mp4").dtype.itemsize < 9


@pytest.mark.parametrize("read", [read_array, map_array])
@pytest.mark.parametrize("shape", ["(9223372036854775807, 4)", "(-1, 4)", "(-2, -2)", "(" * 4000, "-" * 9000])
def test_headers_that_no_array_has_are_refused(tmp_path: Path, shape: str, read: Any) -> None:
    path = tmp_path / "a.npy"
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    with pytest.raises(DecodeError, match=r"clip\.mp4: damaged features"):
        read(str(path), "clip.mp4")


@pytest.mark.parametrize("read", [read_array, map_array])
def test_python_objects_are_refused(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}, None], object))
    with pytest.raises(DecodeError, match=r"clip\.mp4: damaged features .*it holds Python objects"):
        read(str(path), "clip.mp4")


def test_missing_files_and_other_orders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(DecodeError, match="no features"):
        read_array(str(path), "clip.mp4")
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(path, np.asfortranarray(values))
    with pytest.raises(DecodeError, match="C order"):
        read_array(str(path), "clip.mp4")
    np.save(tmp_path / "number.npy", np.float32(3))
    with pytest.raises(DecodeError, match=r"damaged features .*not an array of rows"):
        read_array(str(tmp_path / "number.npy"), "clip.mp4")
    np.testing.assert_array_equal(map_array(str(path), "clip.mp4"), values)
