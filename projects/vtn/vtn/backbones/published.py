"""Download of published weights: repeated attempts, and instructions for a manual download if all fail."""

from __future__ import annotations

import http.client
import time
import urllib.error
from collections.abc import Callable, Iterator
from typing import TypeVar

from slowfast.errors import ModelError, SlowFastError
from slowfast.log import get_logger

logger = get_logger(__name__)

T = TypeVar("T")

PAUSES = (1.0, 3.0, 9.0)
"""Seconds before each further attempt."""

# Errors that another attempt may solve. The Hugging Face hub's client makes five attempts of its own.
_TRANSIENT = (ConnectionError, TimeoutError, http.client.HTTPException, urllib.error.URLError)


def fetch(load: Callable[[], T], *, backbone: str, remedy: str) -> T:
    """Returns ``load()``, with further attempts after transient errors of the network.

    Args:
        load: builds a model and downloads its weights, or reads them from the local cache.
        backbone: name of the backbone, for messages.
        remedy: instructions for a manual download: the file's address and its target folder.

    Raises:
        ModelError: if the weights cannot be downloaded, with the reason and the remedy.
    """
    for attempt, pause in enumerate((*PAUSES, None), start=1):
        try:
            return load()
        except SlowFastError:
            raise
        except Exception as error:  # each hub raises errors of its own types
            causes = list(_causes(error))
            if pause is not None and any(_is_transient(cause) for cause in causes):
                logger.warning(
                    "backbone %s: attempt %d to get the weights failed (%s); next attempt in %g s",
                    backbone, attempt, _short(causes[-1]), pause,
                )  # fmt: skip
                time.sleep(pause)
                continue
            raise ModelError(
                f"backbone {backbone!r}: cannot get the published weights ({_short(error)}; "
                f"{_short(causes[-1])}).\n{remedy}"
            ) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields the error and its chain of causes; the original cause comes last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_transient(error: BaseException) -> bool:
    """Returns whether another attempt may succeed."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429) or error.code >= 500
    return isinstance(error, _TRANSIENT)


def _short(error: BaseException) -> str:
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
