"""Weights that others publish: fetched with patience, and where there is no network, what to do by hand."""

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

# What may be better the next time. The Hugging Face hub's own client has tried five times when it gives up.
_PASSING = (ConnectionError, TimeoutError, http.client.HTTPException, urllib.error.URLError)


def fetch(load: Callable[[], T], *, backbone: str, remedy: str) -> T:
    """Returns ``load()``, tried again while the network fails in ways that may pass.

    Args:
        load: builds a model and downloads its weights, or reads them from the local cache.
        remedy: which file to get elsewhere and where to put it.

    Raises:
        ModelError: where the weights cannot be had, with the reason and the remedy.
    """
    for attempt, pause in enumerate((*PAUSES, None), start=1):
        try:
            return load()
        except SlowFastError:
            raise
        except Exception as error:  # each hub has its own errors
            causes = list(_causes(error))
            if pause is not None and any(_may_pass(cause) for cause in causes):
                logger.warning(
                    "backbone %s: attempt %d failed (%s); again in %g s",
                    backbone, attempt, _short(causes[-1]), pause,
                )  # fmt: skip
                time.sleep(pause)
                continue
            raise ModelError(
                f"backbone {backbone!r}: its published weights cannot be had ({_short(error)}; "
                f"{_short(causes[-1])}).\n{remedy}"
            ) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, the first cause last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in (408, 429) or error.code >= 500
    return isinstance(error, _PASSING)


def _short(error: BaseException) -> str:
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
