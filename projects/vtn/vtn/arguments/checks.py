"""Checks of ranges that the groups of arguments share; a message names the group and the field."""

from __future__ import annotations

from slowfast.errors import ModelError


def check_at_least(minimum: int, group: str, **values: int) -> None:
    """Raises ``ModelError`` for a value below ``minimum``."""
    for name, value in values.items():
        if value < minimum:
            raise ModelError(f"{group}.{name} = {value}: must be {minimum} or more")


def check_probabilities(group: str, **values: float) -> None:
    """Raises ``ModelError`` for a value that is not 0 or more and below 1."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ModelError(f"{group}.{name} = {value}: must be 0 or more and below 1")


def check_position_rate(group: str, rate: float | None) -> None:
    """Raises ``ModelError`` for a number of positions per second that is not above 0; None is accepted."""
    if rate is not None and not rate > 0:
        raise ModelError(
            f"{group}.position_rate = {rate}: must be above 0 (positions per second), or None, where "
            "positions are indices of frames"
        )
