"""Access to the Hugging Face hub: one line per download, and no retries where the hub cannot be reached."""

from __future__ import annotations

import logging
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from slowfast.errors import CheckpointError, first_line
from slowfast.log import get_logger

logger = get_logger(__name__)

# Seconds before the second attempt to connect, and for the connection to one address of the hub.
_PAUSE, _CONNECT_SECONDS = 1.0, 5.0


class HubUnreachableError(OSError):
    """A file that is not in the cache, while the Hugging Face hub cannot be reached."""


@contextmanager
def hub_access(name: str) -> Iterator[None]:
    """Lets the block read files of a model on the hub, from the cache alone where the hub is unreachable.

    The client of the hub repeats every request five times, also where the hub cannot be reached, for each
    file that a model may have: minutes on a node without internet. Therefore a connection is tried first.

    Args:
        name: ``OWNER/NAME`` of the model; nothing is done for the path of a folder.

    Raises:
        HubUnreachableError: for a file that is not in the cache, where the hub cannot be reached.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.file_download import repo_folder_name

    if constants.HF_HUB_OFFLINE or Path(name).is_dir():
        yield
        return
    if not (problem := connection_problem(constants.ENDPOINT)):
        if not Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model")).is_dir():
            logger.info("fetching %s from the Hugging Face hub", name)
        with _each_line_once():
            yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except Exception as error:
        # Other libraries pass the hub's error on as the cause of one of theirs.
        if any(isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled) for cause in causes(error)):
            raise HubUnreachableError(problem) from error
        raise
    finally:
        constants.HF_HUB_OFFLINE = False


def find_file(name: str, file: str, **options: Any) -> Path:
    """Returns the path of a file of a folder, or of a model on the hub, from which it is downloaded.

    Args:
        name: path of the folder, or ``OWNER/NAME`` of the model.
        file: its name in the folder.
        options: those of ``hf_hub_download``.

    Raises:
        CheckpointError: where the hub does not give it.
    """
    from huggingface_hub import hf_hub_download

    if Path(name).is_dir():
        return Path(name, file)
    if Path(name).is_file():
        raise CheckpointError(
            f"{name}: is a file, not a folder with {file} or OWNER/NAME of a model on the hub; load a "
            "checkpoint by vtn.create_model(CONFIG, checkpoint=FILE), or by vtn.Predictor(FILE)"
        )
    try:
        with hub_access(name):
            return Path(hf_hub_download(name, file, **options))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{name}: is not a file or folder here, and the Hugging Face hub does not give its {file}: "
            f"{first_line(error)}"
        ) from error


def connection_problem(address: str) -> str:
    """Returns why the host of an address cannot be reached; empty where it can be, or a proxy does it."""
    proxies = urllib.request.getproxies()
    if any(kind in proxies for kind in ("https", "http", "all")):
        return ""
    error = _connect(address)
    # A name server may ask for another attempt, and a host that starts refuses connections.
    if isinstance(error, ConnectionError) or (error is not None and error.errno == socket.EAI_AGAIN):
        time.sleep(_PAUSE)
        error = _connect(address)
    if error is None:
        return ""
    host, reason = urlsplit(address).hostname or address, error.strerror or "no answer"
    if isinstance(error, socket.gaierror):
        return f"the name {host} cannot be resolved: {reason}"
    return f"{host} cannot be reached: {reason}"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields the error and its chain of causes; the original cause comes last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _connect(address: str) -> OSError | None:
    parts = urlsplit(address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or address, port), _CONNECT_SECONDS).close()
    except OSError as error:
        return error
    return None


@contextmanager
def _each_line_once() -> Iterator[None]:
    """Keeps the hub's client from printing its log lines where the program prints them as well."""
    client = logging.getLogger("huggingface_hub")
    own = list(client.handlers) if logging.getLogger().handlers and client.propagate else []
    for handler in own:
        client.removeHandler(handler)
    try:
        yield
    finally:
        for handler in own:
            client.addHandler(handler)
