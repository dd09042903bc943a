"""Lists as other programs and spreadsheets write them: read as they are meant, or refused with a remedy.

Each list goes through the loader of a data set, and through the reader of ``slowfast prepare``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slowfast.config import get_default_config
from slowfast.datasets import construct_loader
from slowfast.datasets.clip import BrokenVideo
from slowfast.errors import AnnotationError, DataError
from slowfast.preparation.lists import read_video_list
from tests.support.videos import write_video

NAMES = [
    "a.mp4",
    "b c.mp4",
    "d, e.mp4",
    'f "g".mp4',
    "ü.mp4",
    "50%#.mp4",
    "#1.mp4",
    "~/t.mp4",
    "i\u00a0j.mp4",
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one video under several names."""
    folder = tmp_path_factory.mktemp("videos")
    source = write_video(folder / "source.mp4", 4)
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(source, folder / name)
    return folder


@pytest.fixture
def load(videos: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a list beside the videos, and returns path and label of each video as a data set reads them."""
    monkeypatch.chdir(videos)

    def write_and_load(content: str | bytes, separator: str = " ") -> list[tuple[str, int]]:
        (videos / "train.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        cfg = get_default_config()
        keys = ["DATA.PATH_TO_DATA_DIR", str(videos), "MODEL.NUM_CLASSES", 2, "TRAIN.BATCH_SIZE", 1]
        cfg.merge_from_list([*keys, "DATA.PATH_LABEL_SEPARATOR", separator, "DATA_LOADER.NUM_WORKERS", 0])
        dataset = construct_loader(cfg, "train").dataset
        dataset._substitute = False
        assert not any(isinstance(dataset[i], BrokenVideo) for i in range(len(dataset)))
        return list(zip(dataset.paths, dataset.labels.tolist(), strict=True))

    return write_and_load


READ = {
    "a tab for a space": ("a.mp4\t1\nb c.mp4\t0\n", " ", ["a.mp4", "b c.mp4"]),
    "a tab written as in yaml": ("a.mp4\t1\nb c.mp4\t0\n", "\\t", ["a.mp4", "b c.mp4"]),
    "quoted commas and quotes": ('"d, e.mp4",1\n"f ""g"".mp4",0\n', ",", ["d, e.mp4", 'f "g".mp4']),
    "commas without quotes": ("d, e.mp4,1\na.mp4,0\n", ",", ["d, e.mp4", "a.mp4"]),
    "leading zeros": ("a.mp4 01\nb c.mp4 00\n", " ", ["a.mp4", "b c.mp4"]),
    "special characters": ("50%#.mp4 1\n#1.mp4 0\n", " ", ["50%#.mp4", "#1.mp4"]),
    "a folder named ~": ("~/t.mp4 1\n./a.mp4 0\n", " ", ["~/t.mp4", "./a.mp4"]),
    "a no-break space in a name": ("i\u00a0j.mp4 1\nü.mp4 0\n", " ", ["i\u00a0j.mp4", "ü.mp4"]),
    "mixed line ends": ("a.mp4 1\rb c.mp4 0\r\n", " ", ["a.mp4", "b c.mp4"]),
    "a header in a comment": ("# path label\na.mp4 1\nb c.mp4 0\n", " ", ["a.mp4", "b c.mp4"]),
    "a header with #": ("#path,label\na.mp4,1\nb c.mp4,0\n", ",", ["a.mp4", "b c.mp4"]),
    "trailing commas": ("path,label,\na.mp4,1,\nb c.mp4,0,\n", ",", ["a.mp4", "b c.mp4"]),
    "class names": (
        'path,class_name,label\na.mp4,"ride, fast",1\nb c.mp4,walk,0\n', ",", ["a.mp4", "b c.mp4"],
    ),
    "class names last": (
        'path,label,class_name\na.mp4,1,x\n"d, e.mp4",0,"y, z"\n', ",", ["a.mp4", "d, e.mp4"],
    ),
    "duplicates": ("a.mp4 1\na.mp4 0\n", " ", ["a.mp4", "a.mp4"]),
    "UTF-16": ("\ufeffa.mp4 1\nü.mp4 0\n".encode("utf-16-be"), " ", ["a.mp4", "ü.mp4"]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "separator", "paths"), READ.values(), ids=READ)
def test_a_list_is_read(load, content: str | bytes, separator: str, paths: list[str]) -> None:
    assert load(content, separator) == list(zip(paths, (1, 0), strict=True))
    entries = read_video_list("train.csv", separator=separator).entries
    assert [(entry.path, int(entry.label)) for entry in entries] == list(zip(paths, (1, 0), strict=True))


QUOTING = "put each column that needs them into double quotes, and write a quote inside them twice"
REFUSED = {
    "a comment first": ("# videos of 2024\na.mp4 1\n", " ", "line 1: .* is a comment; .*: remove the line"),
    "a comment": ("a.mp4 1\n# the rest 1\nb c.mp4 0\n", " ", "line 2: '# the rest 1' is a comment"),
    "a comment of C": ("// list 1\na.mp4 1\n", " ", "line 1: '// list 1' is a comment"),
    "an escaped quote": ('"f \\"g\\".mp4",0\n', ",", f"line 1: .*is not valid csv .*{QUOTING}"),
    "an open quote": ('a.mp4 1\n"b c.mp4 0\n', " ", "line 2: .*is not valid csv"),
    "another separator": ('"b c.mp4",0\n', " ", rf"line 1: .*{QUOTING}; (?i:\S+separator) is ' '"),
    "a quoted line": ('"a.mp4 1"\n', " ", f"line 1: .*but has quotes; {QUOTING}"),
    "one quoted word": ('"The" best.mp4 1\n', " ", f"line 1: .*but has quotes; {QUOTING}"),
    "a quoted label": ('d, e.mp4,"1"\n', ",", f"line 1: .*but has quotes; {QUOTING}"),
    "single quotes": ("'a.mp4' 1\n", " ", "line 1: .*single quotes around the path; remove them"),
    "trailing commas": ("a.mp4,1,\n", ",", "line 1: .*remove ',' from the ends of lines"),
    "the label first": ("1 a.mp4\n0 b c.mp4\n", " ", "line 1: .*label before the path; write the path first"),
    "a header with the label first": ("label,path\n1,a.mp4\n", ",", "line 1: .*first column is not the path"),
    "an index of rows": (",path,label\n0,a.mp4,1\n", ",", "line 1: .*first column is not the path; move it"),
    "a named index of rows": ("index,path,label\n0,a.mp4,1\n", ",", "line 1: .*first column is not the path"),
    "an unknown column": ("path,label,t0\na.mp4,1,3\n", ",", "'t0'; name it 'unused' .*label, start, end"),
    "two columns of labels": ("path,class,label\na.mp4,x,1\n", ",", r"label columns \(class, label\)"),
    "two ends": ("path,label,start,end,stop\na.mp4,1,0,1,2\n", ",", r"several end columns \(end, stop\)"),
    "a header twice": ("path label\na.mp4 1\npath label\nb c.mp4 0\n", " ", "line 3: .*repeats the header"),
    "a wrong header after blank lines": ("\n\nlabel path\n1 a.mp4\n", " ", "line 3: .*first column is not"),
    "json": ('{"a.mp4": 1}\n', " ", "line 1: .*is json; write one line of path and label per video"),
    "json over lines": ('[\n{"path": "a.mp4"}\n]\n', " ", r"line 1: '\[' is json"),
    "UTF-32": ("a.mp4 1\n".encode("utf-32"), " ", "is UTF-32 text; save it as UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x08abc 1\n", " ", "is compressed; unpack it with gunzip"),
    "a zero byte": ("a.mp4 1\n" + " " * 5000 + "b\0.mp4 1\n", " ", "line 2: .*contains a zero byte"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "separator", "message"), REFUSED.values(), ids=REFUSED)
def test_a_list_is_refused_with_its_remedy(load, content: str | bytes, separator: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"train.csv.*{message}"):
        load(content, separator)
    with pytest.raises(AnnotationError, match=rf"train.csv.*{message}"):
        read_video_list("train.csv", separator=separator)


LABELS = {
    "2": "the first class is 0: subtract 1",
    "99": "for 100 classes set MODEL.NUM_CLASSES 100",
    "archery": "write the index of a class, not its name; a first line that names the columns must be 'path",
    "0,1": "for several labels per video set DATA.MULTI_LABEL True",
    **dict.fromkeys(["1.0", "-1", "+1", "[1]", "1,", "\u22121", "9" * 30], r"\(MODEL.NUM_CLASSES\); DATA."),
}


@pytest.mark.parametrize(("label", "message"), LABELS.items(), ids=LABELS)
def test_a_wrong_label_is_refused_with_its_cause(load, label: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"line 1: .*a label is an integer, 0 to 1.*{message}"):
        load(f"a.mp4 {label}\n")


MISSING = {
    "a segment": ("a.mp4,0.0,5.0,1\n", ",", "'a.mp4' exists: add a first line .* or 'path start end label'"),
    "a segment after spaces": ("b c.mp4 0 5 1\n", " ", "'b c.mp4' exists: add a first line"),
    "an address": ("https://example.org/a.mp4 1\n", " ", "it is an address: download the videos"),
    "a home folder": ("~user/a.mp4 1\n", " ", "variables are not replaced: write the full path"),
    "a variable": ("$HOME/a.mp4 1\n", " ", "variables are not replaced: write the full path"),
    "Windows folders": ("C:\\videos\\a.mp4 1\n", " ", "folders are separated by '/'"),
    "another encoding": ("ü.mp4 1\n".encode("cp1252"), " ", "the list is not UTF-8 text: save it as UTF-8"),
    "no suffix": ("a 1\n", " ", "correct the paths of the list, or set DATA.PATH_PREFIX"),
}


@pytest.mark.parametrize(("content", "separator", "message"), MISSING.values(), ids=MISSING)
def test_paths_that_do_not_exist_are_refused_with_their_cause(
    load, content: str | bytes, separator: str, message: str
) -> None:
    with pytest.raises(DataError, match=rf"the video of the list is missing, .*{message}"):
        load(content, separator)
