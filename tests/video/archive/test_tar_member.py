"""Videos that are members of tar archives give the frames of the files, and damaged archives are refused."""

from __future__ import annotations

import gzip
import os
import pickle
import tarfile
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slowfast.errors import DecodeError
from slowfast.video.archive.member import MemberFile, TarMember
from slowfast.video.archive.tar_file import TarError, find_member, scan_tar
from slowfast.video.decoding import decode, open_video
from slowfast.video.torchcodec_video import torchcodec_version
from slowfast.visualization.filmstrip import cut_filmstrip
from tests.support.sharding.shards import write_tar
from tests.support.videos import read_stamps


@pytest.fixture(scope="module")
def archive(stamped_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two copies of a video of 60 stamped frames, behind and before other members."""
    content = stamped_video.read_bytes()
    members = {"000000.cls": b"1", "000000.mp4": content, "000001.cls": b"0", "000001.mp4": content}
    return write_tar(tmp_path_factory.mktemp("archive") / "shard-000000.tar", members)


def members_of(archive: Path) -> dict[str, TarMember]:
    return {entry.name: TarMember.at(str(archive), *entry) for entry in scan_tar(str(archive))}


@pytest.mark.parametrize("backend", ["pyav", "torchcodec"])
@pytest.mark.parametrize("name", ["000000.mp4", "000001.mp4"])
def test_the_frames_are_those_of_the_file(
    archive: Path, stamped_video: Path, name: str, backend: str
) -> None:
    member, chosen = members_of(archive)[name], [3, 47, 12, 59]
    frames = decode(member, indices=chosen, backend=backend)
    assert read_stamps(frames) == chosen
    np.testing.assert_array_equal(frames, decode(stamped_video, indices=chosen, backend=backend))


@pytest.mark.skipif(torchcodec_version() is None, reason="torchcodec or FFmpeg's libraries cannot be loaded")
def test_torchcodec_itself_reads_the_member(archive: Path) -> None:
    """It does not leave the member to PyAV, as it does for what it cannot read."""
    with open_video(members_of(archive)["000001.mp4"], "torchcodec") as video:
        assert video._decoder() is not None  # type: ignore[attr-defined]


def test_several_decoders_of_one_member_do_not_disturb_each_other(archive: Path, stamped_video: Path) -> None:
    """Threads, and the second decoder that reads missing frames, open the member once more."""
    member = members_of(archive)["000001.mp4"]
    np.testing.assert_array_equal(decode(member, threads=3), decode(stamped_video))
    with open_video(member) as video, open_video(member) as other:
        first, second = (v.read_chunks(np.arange(60), 7) for v in (video, other))
        for one, another in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, another)


def test_a_member_is_a_text_that_keeps_its_place(archive: Path) -> None:
    member = pickle.loads(pickle.dumps(members_of(archive)["000001.mp4"]))  # noqa: S301
    assert member == f"{archive}: 000001.mp4"
    assert member.member == "000001.mp4"
    assert member.archive == str(archive)
    assert read_stamps(decode(member, indices=[5])) == [5]


def test_the_file_of_a_member_ends_where_the_member_ends(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar", {"a": b"before", "b": b"content", "c": b"after"})
    with MemberFile(members_of(archive)["b"]) as file:
        assert file.read() == b"content"
        assert file.read() == b""
        assert file.seek(-3, os.SEEK_END) == 4
        assert file.read(100) == b"ent"
        assert file.seek(1) == file.tell() == 1
        assert file.seek(1, os.SEEK_CUR) == 2
        assert file.read(2) == b"nt"
        assert file.seek(50) == 50
        assert file.read() == b""
        with pytest.raises(ValueError, match="must be 0 or more"):
            file.seek(-1)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_no_file_stays_open(archive: Path) -> None:
    member = members_of(archive)["000000.mp4"]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        decode(member, indices=[0])
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_video_beyond_its_archive_is_reported(tmp_path: Path, archive: Path, is_missing: bool) -> None:
    member = members_of(archive)["000001.mp4"]
    cut = tmp_path / "cut.tar"
    if not is_missing:
        cut.write_bytes(archive.read_bytes()[: member.start + 100])
    with pytest.raises(DecodeError) as error:
        open_video(TarMember.at(str(cut), "000001.mp4", member.start, member.size))
    assert error.value.path == f"{cut}: 000001.mp4"
    assert error.value.reason == ("missing" if is_missing else "truncated")


def test_a_damaged_video_is_named_by_archive_and_member(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "shard-000001.tar", {"000123.mp4": b"no video" * 100, "000124.mp4": b""})
    for name, reason in (("000123.mp4", "not a video"), ("000124.mp4", "empty")):
        with pytest.raises(DecodeError, match=rf"shard-000001\.tar: {name}: {reason}"):
            open_video(members_of(archive)[name])


def test_a_member_is_found_by_its_name_alone(archive: Path) -> None:
    """As results store it; a report cuts its filmstrips from such names."""
    member = members_of(archive)["000001.mp4"]
    found = find_member(str(member))
    assert isinstance(found, TarMember)
    assert (found, found.start, found.size) == (member, member.start, member.size)
    assert cut_filmstrip(str(member), 4) == cut_filmstrip(member, 4)
    assert read_stamps(decode(str(member), indices=[7])) == [7]
    for other in ("videos/a.mp4", f"{archive}: none.mp4", "none.tar: a.mp4"):
        assert find_member(other) == other
        assert not isinstance(find_member(other), TarMember)


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_format_are_found(tmp_path: Path, format_: int) -> None:
    names = ["a.mp4", "d/" + "x" * 90 + ".mp4"]
    if format_ != tarfile.USTAR_FORMAT:
        names += ["ü" * 100 + ".mp4", "e/" * 60 + "y.mp4"]
    (tmp_path / "content").write_bytes(b"content" * 200)
    with tarfile.open(tmp_path / "a.tar", "w", format=format_) as archive:
        for name in names:
            archive.add(tmp_path / "content", name)
    found = list(scan_tar(str(tmp_path / "a.tar")))
    assert [entry.name for entry in found] == names
    content = (tmp_path / "a.tar").read_bytes()
    for entry in found:
        assert content[entry.start :][: entry.size] == b"content" * 200


def test_every_cut_of_an_archive_is_refused(tmp_path: Path) -> None:
    """Also at the end of a member, where `tarfile` takes the rest for complete."""
    archive = write_tar(tmp_path / "a.tar", {f"{i}.mp4": bytes([65 + i]) * 700 * i for i in range(4)})
    content = archive.read_bytes()
    marks = content.rstrip(b"\0")
    end = -(-len(marks) // 512) * 512  # of the last member
    assert len(list(scan_tar(str(archive)))) == 4
    cut = tmp_path / "cut.tar"
    for length in [*range(0, end, 256), end, end + 100]:
        cut.write_bytes(content[:length])
        with pytest.raises(TarError):
            list(scan_tar(str(cut)))


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    """`tarfile` ends there without an error, and leaves out what follows."""
    archive = write_tar(tmp_path / "a.tar", {f"{i}.mp4": b"x" * 512 for i in range(3)})
    content = bytearray(archive.read_bytes())
    content[1024:1030] = b"\xff" * 6  # the second header
    archive.write_bytes(content)
    with tarfile.open(archive) as plain:
        assert plain.getnames() == ["0.mp4"]
    with pytest.raises(TarError, match="damaged at byte 1024"):
        list(scan_tar(str(archive)))


def test_compressed_archives_and_links_are_refused(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar", {"a.mp4": b"x"})
    (tmp_path / "z.tar").write_bytes(gzip.compress(archive.read_bytes()))
    with pytest.raises(TarError, match=r"is compressed.*gunzip"):
        list(scan_tar(str(tmp_path / "z.tar")))
    with tarfile.open(tmp_path / "link.tar", "w") as linked:
        info = tarfile.TarInfo("b.mp4")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        linked.addfile(info)
    with pytest.raises(TarError, match=r"b\.mp4, which must be a regular file"):
        list(scan_tar(str(tmp_path / "link.tar")))


def set_checksum(header: bytearray) -> None:
    """Makes the checksum of a header of 512 bytes valid, so that the reader looks at its values."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)


LONG_NAME, PAX, SPARSE = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_SPARSE
ODD_SIZES = [
    b"\x80" + b"\xff" * 11,
    b"\xff" * 12,
    b"\x80" + b"\0" * 3 + b"\x7f" * 8,
    b"77777777777\0",
    b"-0000000001\0",
]


@given(
    number=st.integers(0, 2),
    kind=st.sampled_from([LONG_NAME, PAX, SPARSE, tarfile.REGTYPE, tarfile.LNKTYPE, b"Z"]),
    size=st.sampled_from(ODD_SIZES) | st.binary(min_size=12, max_size=12),
    content=st.binary(max_size=40),
)
@example(number=1, kind=PAX, size=ODD_SIZES[0], content=b"")
@example(number=1, kind=PAX, size=ODD_SIZES[2], content=b"")
def test_odd_headers_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, number: int, kind: bytes, size: bytes, content: bytes
) -> None:
    """Tests sizes that no file has, entries other than files, and extended headers of any content."""
    path = write_tar(
        tmp_path_factory.getbasetemp() / "odd.tar", {f"{i}.mp4": content.ljust(512, b"x") for i in range(3)}
    )
    archive = bytearray(path.read_bytes())
    header = archive[number * 1024 : number * 1024 + 512]
    header[124:136], header[156:157] = size, kind
    set_checksum(header)
    archive[number * 1024 : number * 1024 + 512] = header
    path.write_bytes(archive)
    entries = []
    with suppress(TarError):
        entries = list(scan_tar(str(path)))
    assert all(0 < entry.start <= entry.start + entry.size <= len(archive) for entry in entries)


def test_endless_extended_headers_are_refused(tmp_path: Path) -> None:
    """Each of them says that another header follows, which a reader would follow by recursion."""
    header = bytearray(tarfile.TarInfo("a.mp4").tobuf())
    header[156:157] = LONG_NAME
    set_checksum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) * 5000 + bytes(1024))
    with pytest.raises(TarError, match="not a complete tar archive"):
        list(scan_tar(str(tmp_path / "a.tar")))


@pytest.mark.parametrize("size", [-512, -1024, -1536, -2048, -(10**6), -(2**63)])
def test_negative_sizes_are_refused(tmp_path: Path, size: int) -> None:
    """The header behind such a member would be an earlier one, so that an archive would never end."""
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a.mp4"))
        hidden = tarfile.TarInfo(".b")
        hidden.pax_headers = {"size": str(size)}
        archive.addfile(hidden)
        archive.addfile(tarfile.TarInfo("c.mp4"))
    # Python 3.14 reads no member from there on.
    with pytest.raises(
        TarError, match=rf"is damaged at \.b, whose size is {size} bytes|damaged at byte 2048"
    ):
        list(islice(scan_tar(str(tmp_path / "a.tar")), 100))


@pytest.mark.parametrize("name", ["../../etc/a.mp4", "/etc/a.mp4", "a\nb.mp4", "./a.mp4", "d/../a.mp4"])
def test_names_of_members_do_not_lead_to_files_of_this_computer(tmp_path: Path, name: str) -> None:
    """A member is read from its bytes in the archive, whatever it is called."""
    archive = write_tar(tmp_path / "a.tar", {name: b"content"})
    (entry,) = scan_tar(str(archive))
    assert entry.name == name
    with TarMember.at(str(archive), *entry).open() as file:
        assert file.read() == b"content"
