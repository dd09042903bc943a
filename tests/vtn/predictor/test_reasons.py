"""The category of a failed prediction, by which a program decides whether to try the video again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from slowfast.errors import DecodeError, InputError, NotFiniteError
from vtn import Predictor
from vtn.predictor.texts import failure_reason


def test_failures_of_a_stream_have_reasons(published: Path, videos: Path) -> None:
    predictor = Predictor(published, device="cpu")
    names = [
        "missing.mp4",
        *(str(videos / name) for name in ("broken.mp4", "empty.mp4", "05.mp4")),
        str(videos),
    ]
    results = list(predictor.stream([*names, np.zeros((1, 2))]))
    expected = ["missing", "not a video", "empty", "", "not a file", "input"]
    assert [result.reason for result in results] == expected
    assert [bool(result.error) for result in results] == [bool(reason) for reason in expected]
    for name, result in zip(names, results, strict=False):
        if result.reason:
            assert result.to_dict() == {"video": name, "error": result.error, "reason": result.reason}
            with pytest.raises(DecodeError) as raised:
                predictor(name)
            assert raised.value.reason == result.reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DecodeError("a.mp4", "corrupt", "frame 3"), "corrupt"),
        (PermissionError(13, "Permission denied"), "not permitted"),
        (ConnectionResetError(104, "Connection reset by peer"), "unreadable"),
        (MemoryError(), "memory"),
        (NotFiniteError("scores are NaN", [0]), "not finite"),
        (InputError("a.mp4 3: does not exist"), "input"),
    ],
)
def test_errors_of_other_kinds(error: Exception, reason: str) -> None:
    assert failure_reason(error) == reason


def test_the_guide_names_the_reasons_of_the_code() -> None:
    root = Path(__file__).parents[3]
    guide = (root / "GETTING_STARTED.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(r"`reason` is for programs: .*?are the others", guide, re.DOTALL)
    documented = set(re.findall(r"`([a-z ]+)`", paragraph)) - {"reason"}
    code = "".join(path.read_text(encoding="utf-8") for path in (root / "slowfast" / "video").rglob("*.py"))
    used = set(re.findall(r"DecodeError\(\s*[^,]+,\s*\"([a-z ]+)\"", code))
    # A segment is of a list of training, and a closed video is a mistake of a program.
    assert used - {"segment outside", "closed"} <= documented
