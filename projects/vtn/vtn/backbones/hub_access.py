"""Access to the Hugging Face hub: one line per download, and no retries where the hub's name is unknown."""

from __future__ import annotations

import logging
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from slowfast.log import get_logger

logger = get_logger(__name__)

# Seconds before the second attempt to resolve the hub's name, where the name server asks for one.
_PAUSE = 1.0


class HubUnreachableError(OSError):
    """A file that is not in the cache, while the name of the Hugging Face hub cannot be resolved."""


@contextmanager
def hub_access(name: str) -> Iterator[None]:
    """Lets the block read files of a model on the hub, from the cache alone where the hub is unreachable.

    The client of the hub repeats every request five times, also where the hub's name cannot be resolved, for
    each file that a model may have. Therefore the name is resolved once beforehand.

    Args:
        name: ``OWNER/NAME`` of the model; nothing is done for the path of a folder.

    Raises:
        HubUnreachableError: for a file that is not in the cache, where the hub's name cannot be resolved.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if constants.HF_HUB_OFFLINE or Path(name).is_dir():
        yield
        return
    if not (problem := resolution_problem(constants.ENDPOINT)):
        if not _is_cached(name):
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


def resolution_problem(address: str) -> str:
    """Returns why the host of an address cannot be resolved; empty where it can be, or a proxy does it."""
    host = urlsplit(address).hostname or address
    proxies = urllib.request.getproxies()
    if any(kind in proxies for kind in ("https", "http", "all")):
        return ""
    error = _resolve(host)
    if error is not None and error.errno == socket.EAI_AGAIN:
        time.sleep(_PAUSE)
        error = _resolve(host)
    return "" if error is None else f"the name {host} cannot be resolved: {error.strerror}"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields the error and its chain of causes; the original cause comes last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _resolve(host: str) -> socket.gaierror | None:
    try:
        socket.getaddrinfo(host, 443)
    except socket.gaierror as error:
        return error
    return None


def _is_cached(name: str) -> bool:
    """Returns whether the cache has files of the model."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model")).is_dir()


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
