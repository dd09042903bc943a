"""Reading with and without packets in memory."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["kept packets", "seeking"])
def keep_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads small files once, or every time from where decoding must start."""
    if request.param == "seeking":
        monkeypatch.setattr("slowfast.video.frame_table.scan._KEEP_BYTES", 0)
