"""The parser of a form gives the same file for any division into chunks."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtn.serving.form import VideoForm, clean_name
from vtn.serving.limits import Limits, Refusal

BOUNDARY = b"boundary"


def encode(content: bytes, filename: str = 'filename="a.mp4"') -> bytes:
    """Returns a form with a field before and after the video."""
    other = b'--boundary\r\nContent-Disposition: form-data; name="other"\r\n\r\nvalue\r\n'
    head = f'--boundary\r\nContent-Disposition: form-data; name="video"; {filename}\r\n'
    return (
        other
        + head.encode()
        + b"Content-Type: video/mp4\r\n\r\n"
        + content
        + b"\r\n"
        + other
        + b"--boundary--\r\n"
    )


@given(st.binary(max_size=300), st.lists(st.integers(0, 900), max_size=12))
def test_any_division_into_chunks_gives_the_same_file(content: bytes, cuts: list[int]) -> None:
    content = content.replace(b"--boundary", b"")
    data = encode(content)
    file = io.BytesIO()
    form = VideoForm(BOUNDARY, file, Limits())
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(places):
        form.feed(data[start:end])
    assert form.finish() == "a.mp4"
    assert file.getvalue() == content


def test_the_size_is_that_of_the_video() -> None:
    form = VideoForm(BOUNDARY, io.BytesIO(), Limits(upload_bytes=100))
    form.feed(encode(bytes(100)))
    assert form.finish() == "a.mp4"
    with pytest.raises(Refusal, match="413"):
        VideoForm(BOUNDARY, io.BytesIO(), Limits(upload_bytes=100)).feed(encode(bytes(101)))


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ('filename="prü.mp4"', "prü.mp4"),
        ("filename*=UTF-8''pr%C3%BC%2F..%2Fa%20b.mp4", "a b.mp4"),
        ("filename=\"=?utf-8?B?cHLDvC5tcDQ=?=\"; filename*=utf-8''pr%C3%BC.mp4", "prü.mp4"),
        ("filename*=\"UTF-8''pr%C3%BC.mp4\"", "prü.mp4"),
        ("filename*=utf-8''", "video"),
    ],
)
def test_names_that_are_not_ascii_are_shown_as_they_are(filename: str, shown: str) -> None:
    """Of .NET's names the answer had the Base64 text of the third one."""
    form = VideoForm(BOUNDARY, io.BytesIO(), Limits())
    form.feed(encode(b"", filename))
    assert form.finish() == shown


@pytest.mark.parametrize("size", [60_000, 70_000])
def test_other_fields_are_small(size: int) -> None:
    other = b'--boundary\r\nContent-Disposition: form-data; name="other"\r\n\r\n' + bytes(size) + b"\r\n"
    form = VideoForm(BOUNDARY, io.BytesIO(), Limits())
    if size > 65_536:
        with pytest.raises(Refusal, match="the form has more than 65 kB beside the video"):
            form.feed(other)
    else:
        form.feed(other + encode(bytes(200_000)))
        assert form.finish() == "a.mp4"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"../../etc/passwd", "passwd"),
        (rb"C:\clips\a.mp4", "a.mp4"),
        (b"a\n\x1b[2J", "a��[2J"),
        ("a\u202e4pm.exe".encode(), "a\ufffd4pm.exe"),
        ("می\u200cروم prix\xa0fixe.mp4".encode(), "می\u200cروم prix\xa0fixe.mp4"),
        (b"/", "video"),
    ],
)
def test_names_of_clients_are_harmless(sent: bytes, shown: str) -> None:
    assert clean_name(sent) == shown
    assert len(clean_name(b"n" * 5000)) == 120
