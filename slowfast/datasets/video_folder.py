"""Videos below a folder: found by the suffixes of their names, or by opening files of unknown suffixes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from slowfast.errors import AnnotationError, counted

# Containers that FFmpeg reads and that usually hold video.
_VIDEO = """
.3g2 .3gp .amv .asf .avi .divx .dv .f4v .flv .gif .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg .mjpg .mk3d .mkv .mod
.mov .mp4 .mp4v .mpe .mpeg .mpg .mpv .mts .mxf .nut .ogm .ogv .qt .rm .rmvb .tod .ts .vob .webm .wmv .wtv
.xvid .y4m .h264 .264 .h265 .265 .hevc .avc
"""
# Files that often lie beside videos and are not videos, although FFmpeg can decode some of them.
_OTHER = """
.txt .csv .tsv .json .jsonl .xml .yaml .yml .md .html .htm .log .pdf .srt .vtt .ass .sub .idx .nfo .py .sh
.jpg .jpeg .png .bmp .webp .tif .tiff .heic .ico .svg .psd .thm .npy .npz .pkl .pt .pth .mat .h5 .hdf5
.wav .mp3 .aac .flac .m4a .ogg .opus .wma .zip .tar .gz .7z .rar .part .crdownload .tmp .lock .db .ini
"""
VIDEO_SUFFIXES = frozenset(_VIDEO.split())
_OTHER_SUFFIXES = frozenset(_OTHER.split())
# Metadata in archives from macOS; recovered files at the root of a disk, readable by root alone.
_SYSTEM_FOLDERS = ("__MACOSX", "lost+found")


@dataclass(frozen=True)
class FolderContents:
    """The files below a folder, as paths relative to it, sorted; hidden files are not among them.

    Attributes:
        videos: files that are videos.
        others: all other files.
    """

    videos: tuple[str, ...]
    others: tuple[str, ...]


def scan_folder(folder: str) -> FolderContents:
    """Finds the videos below a folder.

    A file is a video by the suffix of its name (``VIDEO_SUFFIXES``). A file of an unknown suffix, or without
    one, is a video where FFmpeg finds a video stream in it. Links to folders are followed, except those to a
    folder above them.

    Raises:
        AnnotationError: where the folder, or one below it, cannot be read.
    """
    videos: list[str] = []
    others: list[str] = []
    for path in _walk_files(folder):
        suffix = os.path.splitext(path)[1].lower()
        is_video = suffix in VIDEO_SUFFIXES or (
            suffix not in _OTHER_SUFFIXES and _has_video_stream(os.path.join(folder, path))
        )
        (videos if is_video else others).append(path)
    return FolderContents(tuple(sorted(videos)), tuple(sorted(others)))


def find_videos(folder: str) -> list[str]:
    """Returns the paths of the videos below a folder, relative to it, sorted; see :func:`scan_folder`."""
    return list(scan_folder(folder).videos)


def find_class_folders(folder: str) -> list[str]:
    """Returns the names of the folders in a folder, sorted, without hidden ones such as ``.git``.

    Raises:
        AnnotationError: where the folder cannot be read.
    """
    with _scan_class_folders(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _is_hidden(entry.name))


def scan_classes(folder: str, names: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Finds the videos of the classes in a folder; see :func:`scan_folder`.

    Args:
        names: of the class folders.

    Returns:
        Class and path of each video, and the paths of the other files, relative to the folder. Among the
        latter are videos beside the class folders, which have no class, and broken links there, which may be
        those of class folders.

    Raises:
        AnnotationError: where a folder cannot be read, and for a class folder without videos.
    """
    videos: list[tuple[str, str]] = []
    others = _find_loose_files(folder)
    for name in names:
        path = os.path.join(folder, name)
        contents = scan_folder(path)
        if not contents.videos:
            found = f"only {describe_others(contents.others)}" if contents.others else "no files"
            raise AnnotationError(
                f"{path}: this class folder must contain a video, but has {found}; add videos or remove the "
                "folder"
            )
        videos += [(name, os.path.join(name, video)) for video in contents.videos]
        others += [os.path.join(name, other) for other in contents.others]
    return videos, others


@contextmanager
def _scan_class_folders(folder: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """Opens a folder of class folders.

    Raises:
        AnnotationError: where it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise AnnotationError(
            f"{folder}: cannot be read ({error.strerror}); it must contain one folder of videos per class"
        ) from error


def _find_loose_files(folder: str) -> list[str]:
    """Returns the names of the videos, and of broken links, that lie beside the class folders, sorted."""
    with _scan_class_folders(folder) as entries:
        files = [entry for entry in entries if not _is_hidden(entry.name) and not entry.is_dir()]
        return sorted(
            entry.name
            for entry in files
            if os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES or not os.path.exists(entry.path)
        )


def describe_others(others: Sequence[str]) -> str:
    """Returns a summary for messages: ``5 files such as 'a.txt' (3 .txt, 2 .jpg)``."""
    suffixes = Counter(os.path.splitext(name)[1].lower() or "without suffix" for name in others)
    by_count = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    found = ", ".join(f"{count} {suffix}" for suffix, count in by_count[:6])
    return f"{counted(len(others), 'file')} such as {others[0]!r} ({found})"


def _is_hidden(name: str) -> bool:
    """Returns whether a name is hidden, or that of a folder of an archive program or a file system."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def _walk_files(folder: str) -> Iterator[str]:
    """Yields the paths of the files below a folder, relative to it, without hidden ones."""
    # Folder still to be walked -> the real paths of itself and of the folders above it, from ``folder`` on.
    ancestors: dict[str, tuple[str, ...]] = {folder: (os.path.realpath(folder),)}
    for current, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        above = ancestors.pop(current)
        below = {name: _real_path(current, name, above[-1]) for name in folders if not _is_hidden(name)}
        folders[:] = [name for name, real in below.items() if real not in above]
        ancestors.update((os.path.join(current, name), (*above, below[name])) for name in folders)
        for name in files:
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(current, name), folder)


def _refuse(error: OSError) -> NoReturn:
    """Raises for a folder that cannot be read.

    To skip it would give a data set with fewer videos, and where a network file system fails for a moment,
    the processes of one run data sets of different lengths.
    """
    raise AnnotationError(
        f"{error.filename}: cannot be read ({error.strerror}); check its permissions and the file system, or "
        "move the folder elsewhere"
    ) from error


def _real_path(folder: str, name: str, real_folder: str) -> str:
    """Returns the real path of ``name`` in ``folder``; only a link costs more than a look-up."""
    path = os.path.join(folder, name)
    return os.path.realpath(path) if os.path.islink(path) else os.path.join(real_folder, name)


def _has_video_stream(path: str) -> bool:
    import av

    from slowfast.video.container import open_container

    try:
        with open_container(path) as container:
            return any(stream.type == "video" for stream in container.streams)
    except (av.FFmpegError, OSError, ValueError):
        return False
