"""Access to the Hugging Face hub: unknown hosts end at once, and each line is printed once."""

from __future__ import annotations

import errno
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from slowfast.errors import CheckpointError, ConfigError, ModelError
from vtn.backbones import hub_access as hub
from vtn.backbones.build import build_backbone
from vtn.factory import create_model
from vtn.predictor.source import load_source


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub is to be asked, with an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The hub's name cannot be resolved; returns the pauses between attempts."""
    pauses: list[float] = []

    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "hf:google/vit-base-patch16-224"])
def test_weights_are_not_asked_for_again_where_the_hub_has_no_address(
    name: str, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModelError, match=r"huggingface\.co cannot be resolved: Name or service"):
        build_backbone(name, pretrained=True, options={})
    assert pauses == []
    assert caplog.messages == []
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("error", "pause", "reason"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), [1.0], "Connection refused"),
        (TimeoutError("timed out"), [], "no answer"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), [], "Network is unreachable"),
    ],
)
def test_a_node_without_internet_is_found_out_by_one_connection(
    error: OSError, pause: list[float], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name server may know the hub; the client and the program tried 40 times, for four minutes."""
    pauses: list[float] = []

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("time.sleep", pauses.append)
    with pytest.raises(ModelError, match=rf"weights \(huggingface\.co cannot be reached: {reason}\)"):
        build_backbone("vit_tiny_patch16_224", pretrained=True, options={})
    assert pauses == pause


def test_a_mistyped_path_of_a_model_is_answered_at_once(pauses: list[float]) -> None:
    with pytest.raises(CheckpointError, match=r"published/NOTHING: is not a file .*cannot be resolved"):
        load_source("published/NOTHING")
    with pytest.raises(ConfigError, match=r"was asked too: the name huggingface\.co cannot be resolved"):
        create_model("published/NOTHING")
    assert pauses == []


def test_a_busy_name_server_is_asked_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure")]
    monkeypatch.setattr("time.sleep", lambda _: None)

    def connect(*_: Any) -> Any:
        if errors:
            raise errors.pop()
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    assert hub.connection_problem("https://huggingface.co") == ""


def test_names_are_left_to_a_proxy(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert hub.connection_problem("https://huggingface.co") == ""


def test_other_errors_keep_their_message_where_the_hub_has_no_address(pauses: list[float]) -> None:
    with pytest.raises(ValueError, match="a defect"), hub.hub_access("a/b"):
        raise ValueError("a defect")


def test_a_fetch_is_logged_and_lines_of_the_client_appear_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_: socket.socket())
    client, lines = logging.getLogger("huggingface_hub"), []
    own = logging.Handler()
    own.emit = lines.append  # type: ignore[method-assign]
    client.addHandler(own)
    try:
        with caplog.at_level(logging.INFO), hub.hub_access("google/vit"):
            client.warning("Retrying in 1s [Retry 1/5].")
        assert caplog.messages == [
            "fetching google/vit from the Hugging Face hub",
            "Retrying in 1s [Retry 1/5].",
        ]
        assert lines == []
        assert own in client.handlers
    finally:
        client.removeHandler(own)
