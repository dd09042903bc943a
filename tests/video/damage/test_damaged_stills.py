"""Damaged still images are errors, also where the decoder would fill the gap with a plain colour."""

from __future__ import annotations

import io
import struct
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from slowfast.errors import DecodeError
from slowfast.video.decoding import decode, open_video
from slowfast.video.image_folder import ImageFolder
from slowfast.video.still_images.damage import is_animated_webp, is_jpeg_in_tiff
from tests.support.videos import read_stamps, stamp

KINDS = {
    "baseline.jpg": {},
    "progressive.jpg": {"progressive": True},
    "restarting.jpg": {"restart_marker_rows": 1},
    "full_colour.jpg": {"subsampling": 0, "quality": 95},
    "coarse.jpg": {"quality": 5, "optimize": True},
    "a.png": {},
    "a.webp": {},
    "a.bmp": {},
    "a.tif": {},
}


def image(number: int = 7) -> Image.Image:
    texture = np.random.default_rng(number).integers(0, 40, (256, 320, 1), np.uint8)
    return Image.fromarray(stamp(number, 256, 320) + texture)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99, -3])
def test_a_truncated_image_is_corrupt(name: str, kept: float, tmp_path: Path) -> None:
    """Tests images that lack a part of their data, or the last three bytes."""
    for number in range(3):
        image(number).save(tmp_path / f"{number}_{name}", **KINDS[name])
    path = tmp_path / f"1_{name}"
    content = path.read_bytes()
    assert read_stamps(decode(path)) == [1]
    path.write_bytes(content[: int(kept if kept < 0 else kept * len(content))])
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        with pytest.raises(DecodeError) as caught:
            decode(source)
        assert caught.value.reason in ("corrupt", "not a video", "no frames")
    folder = ImageFolder(str(tmp_path), fps=25)
    with pytest.raises(DecodeError, match=rf"corrupt \(1_{name}: (?!\[Errno)"):
        folder.read(np.arange(3))
    assert read_stamps(folder.read([2, 0])) == [2, 0]


def test_a_sound_with_the_name_of_an_image_is_named(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "0.jpg"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    with pytest.raises(DecodeError, match=r"corrupt \(0\.jpg: not an image\)"):
        ImageFolder(str(tmp_path), fps=25).read([0])


@pytest.mark.parametrize("suffix", ["gif", "qoi", "sun", "exr"])
def test_images_whose_damage_cannot_be_seen_are_not_read_from_folders(suffix: str, tmp_path: Path) -> None:
    """FFmpeg fills a truncated image of these types without an error."""
    (tmp_path / f"0.{suffix}").write_bytes(b"any")
    with pytest.raises(DecodeError, match=r"contains no image; names end in \.bmp, \.jpeg, \.jpg, \.png"):
        ImageFolder(str(tmp_path), fps=25)


def test_the_reason_of_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    image().save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DecodeError, match="1 of 1 frames cannot be decoded"):
        decode(path)
    with open_video(path) as video:
        assert "1 packets refused" in video.describe_damage()


def test_the_thumbnail_of_a_truncated_photo_does_not_end_it(tmp_path: Path) -> None:
    """Tests the layout of cameras: a JPEG with an end of its own within the metadata."""
    thumbnail = io.BytesIO()
    image(1).resize((160, 128)).save(thumbnail, "JPEG")
    path = tmp_path / "photo.jpg"
    image().save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail.getvalue())
    content = path.read_bytes()
    assert content.count(b"\xff\xd8\xff") == 2
    assert read_stamps(decode(path)) == [7]
    path.write_bytes(content[:-1000])
    with pytest.raises(DecodeError, match="corrupt"):
        decode(path)


def unusual_jpegs() -> dict[str, bytes]:
    """Returns JPEG files that are complete, as cameras and programs write them."""
    plain, other = io.BytesIO(), io.BytesIO()
    image().save(plain, "JPEG")
    image(8).save(other, "JPEG")
    content, second = plain.getvalue(), other.getvalue()
    scan = content.index(b"\xff\xda")
    grey, cmyk = io.BytesIO(), io.BytesIO()
    image().convert("L").save(grey, "JPEG")
    image().convert("CMYK").save(cmyk, "JPEG")
    exif = TiffImagePlugin.ImageFileDirectory_v2()
    exif[271] = "a camera"
    with_exif = io.BytesIO()
    image().save(with_exif, "JPEG", exif=b"Exif\0\0" + exif.tobytes(), comment=b"\xff\xd9 a comment")
    return {
        "a second image behind it": content + second,
        "a truncated image behind it": content + second[:-900],
        "a video behind it": content + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40,
        "zeros behind it": content + bytes(3000),
        "fill bytes before a marker": content[:scan] + b"\xff\xff\xff" + content[scan:],
        "an unknown segment": content[:2] + b"\xff\xef\0\x06\xff\xda\xff\xd9" + content[2:],
        "grey": grey.getvalue(),
        "cmyk": cmyk.getvalue(),
        "metadata and a comment": with_exif.getvalue(),
    }


@pytest.mark.parametrize("kind", unusual_jpegs())
def test_unusual_jpegs_are_not_taken_for_damaged_ones(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(unusual_jpegs()[kind])
    assert read_stamps(decode(path)) == [7]
    assert read_stamps(decode(io.BytesIO(path.read_bytes()), indices=[0])) == [7]
    assert read_stamps(ImageFolder(str(tmp_path), fps=25).read([0])) == [7]


def test_a_tiff_that_ffmpeg_would_show_as_a_plain_colour_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.tif"
    image().save(path, compression="jpeg")
    with pytest.raises(DecodeError, match=r"compressed as JPEG, which cannot be read; save it as \.jpg"):
        decode(path)
    with pytest.raises(DecodeError, match=r"0\.tif: a TIFF file compressed as JPEG"):
        ImageFolder(str(tmp_path), fps=25).read([0])


def test_an_animated_webp_is_named(tmp_path: Path) -> None:
    image(1).save(tmp_path / "a.webp", save_all=True, append_images=[image(2), image(3)], duration=100)
    data = (tmp_path / "a.webp").read_bytes()
    assert is_animated_webp(data)
    assert not any(is_animated_webp(data[:length]) for length in range(21))
    try:
        decode(tmp_path / "a.webp")
    except DecodeError as error:
        message = str(error)
    else:
        pytest.skip("this version of FFmpeg decodes animated WebP files")
    assert "no decoder (an animated WebP, which this FFmpeg cannot decode; save it as .gif" in message


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_other_tiffs_are_read(compression: str, mode: str, tmp_path: Path) -> None:
    image().convert(mode).save(tmp_path / "0.tif", compression=compression)
    assert read_stamps(ImageFolder(str(tmp_path), fps=25).read([0])) == [7]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("entries", "refused"),
    [({259: 7}, True), ({259: 6}, True), ({259: 5}, False), ({259: 7, 50706: 1}, False)],
)
def test_the_compression_is_found_in_both_byte_orders(
    order: str, entries: dict[int, int], refused: bool
) -> None:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    data = head + b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, n, 0) for tag, n in entries.items())
    assert is_jpeg_in_tiff(data) == refused
    assert not any(is_jpeg_in_tiff(data[:length]) for length in range(22))


@pytest.mark.parametrize("size", [2**63 - 20, 2**64 - 1])
def test_a_heic_file_with_a_box_of_any_size_is_an_error(size: int, tmp_path: Path) -> None:
    content = struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1")
    content += struct.pack(">I4sQ", 1, b"free", size) + bytes(100)
    (tmp_path / "a.heic").write_bytes(content)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.heic", "a.heic")
    for source in (tmp_path / "a.heic", io.BytesIO(content), f"{tmp_path / 'a.tar'}: a.heic"):
        with pytest.raises(DecodeError):
            decode(source)
