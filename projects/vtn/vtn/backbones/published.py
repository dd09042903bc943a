"""Download of published weights: repeated attempts, and instructions for a manual download if all fail."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from huggingface_hub.errors import OfflineModeIsEnabled

from slowfast.errors import ModelError, SlowFastError
from slowfast.files import read_json_object
from slowfast.log import get_logger
from vtn.backbones.hub_access import HubUnreachableError, causes, hub_access

logger = get_logger(__name__)

T = TypeVar("T")

PAUSES = (1.0, 3.0, 9.0)
"""Seconds before each further attempt."""

# Errors that another attempt may solve. The Hugging Face hub's client makes five attempts of its own.
_TRANSIENT = (ConnectionError, TimeoutError, http.client.HTTPException, urllib.error.URLError)


def fetch(load: Callable[[], T], *, backbone: str, remedy: str, hub_name: str = "") -> T:
    """Returns ``load()``, with further attempts after transient errors of the network.

    Args:
        load: builds a model and downloads its weights, or reads them from the local cache.
        backbone: name of the backbone, for messages.
        remedy: instructions for a manual download: the file's address and its target folder.
        hub_name: ``OWNER/NAME`` of a model on the Hugging Face hub, where ``load`` reads one.

    Raises:
        ModelError: if the weights cannot be downloaded, with the reason and the remedy.
    """
    for attempt, pause in enumerate((*PAUSES, None), start=1):
        try:
            with hub_access(hub_name) if hub_name else nullcontext():
                return load()
        except SlowFastError:
            raise
        except Exception as error:  # each hub raises errors of its own types
            chain = list(causes(error))
            if pause is not None and any(_is_transient(cause) for cause in chain):
                logger.warning(
                    "backbone %s: attempt %d to get the weights failed (%s); next attempt in %g s",
                    backbone, attempt, _short(chain[-1]), pause,
                )  # fmt: skip
                time.sleep(pause)
                continue
            is_explained = isinstance(error, HubUnreachableError)
            reason = str(error) if is_explained else f"{_short(error)}; {_short(chain[-1])}"
            raise ModelError(
                f"backbone {backbone!r}: cannot get the published weights ({reason}).\n{remedy}"
            ) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def download_path(url: str) -> Path:
    """Returns the path at which torch keeps its copy of a file that is downloaded."""
    return Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])


def download_once(url: str, backbone: str) -> Path:
    """Returns the path of torch's copy of a file, which is downloaded unless it is there."""
    path = download_path(url)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch(
            lambda: torch.hub.download_url_to_file(url, str(path)),
            backbone=backbone,
            remedy=by_hand(url, path),
        )
    return path


def by_hand(source: str, target: Path) -> str:
    """Returns the instructions for a manual download of a file of weights."""
    return (
        f"On a machine with internet access download\n  {source}\nand copy it to\n  {target}\n"
        "(or anywhere, and set VTN.BACKBONE.CHECKPOINT to its path). VTN.BACKBONE.PRETRAINED False starts "
        "from random weights."
    )


def cached_download(url: str) -> str:
    """Returns the path of torch's copy of a file that was downloaded; empty without one."""
    path = download_path(url)
    return str(path) if path.is_file() else ""


def cached_on_hub(name: str, files: Sequence[str]) -> str:
    """Returns the path of the first of these files that is complete; empty without one.

    Args:
        name: ``OWNER/NAME`` on the Hugging Face hub, whose cache is searched, or a folder.
        files: names of files of weights, or of indices of their parts.
    """
    from huggingface_hub import try_to_load_from_cache  # imports a client of the network

    def find(file: str) -> str:
        path = str(Path(name, file)) if Path(name).is_dir() else try_to_load_from_cache(name, file)
        return path if isinstance(path, str) and Path(path).is_file() else ""

    for file in files:
        path = find(file)
        if path and file.endswith(".index.json"):
            weights = read_json_object(path).get("weight_map")
            parts = {str(part) for part in weights.values()} if isinstance(weights, dict) else set()
            path = path if parts and all(map(find, parts)) else ""
        if path:
            return path
    return ""


def _is_transient(error: BaseException) -> bool:
    """Returns whether another attempt may succeed."""
    if isinstance(error, OfflineModeIsEnabled):
        return False  # a ConnectionError, but of a request that was not sent
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429) or error.code >= 500
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, socket.gaierror):
        # Another attempt helps where the name server asks for one, but not for an unknown name.
        return error.reason.errno == socket.EAI_AGAIN
    return isinstance(error, _TRANSIENT)


def _short(error: BaseException) -> str:
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
