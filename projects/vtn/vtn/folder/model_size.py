"""The size of a model that a file describes, measured before the model takes memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from slowfast.errors import CheckpointError, ModelError, SlowFastError, first_line
from vtn.arguments.model_arguments import ModelArguments
from vtn.backbones.frames.trial import without_training
from vtn.folder.untrusted import check_numbers

_MOST_TIMES = 4  # the size of a model, compared with its file
_FREE_NUMBERS, _FREE_WEIGHTS = 1 << 20, 1024
_RANDOM_TENSORS = (torch.randn, torch.rand)
_RANDOM_VALUES = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_)  # the last one: of truncated values


def check_arguments(
    model_class: Any, arguments: ModelArguments, stored: tuple[int, int], *, source: str
) -> None:
    """Refuses arguments, of a file, that describe a far larger model than the weights in the file are of.

    Builds the model without memory for its weights.

    Args:
        model_class: of the model.
        arguments: without weights to load.
        stored: number of weights in the file, and number of their values.
        source: the file, for messages.

    Raises:
        CheckpointError: as soon as the model has more than four times the weights of the file, and for
            arguments of another kind than the model takes.
    """
    keywords = arguments.as_keywords()
    groups = {name: vars(group) if is_dataclass(group) else group for name, group in keywords.items()}
    check_numbers(groups, source=source)
    most_weights, most_values = (_MOST_TIMES * count for count in stored)
    with without_training():
        try:
            try:
                with _limited(most_weights, most_values, source), torch.device("meta"), _WithoutValues():
                    model_class(**keywords)
            except SlowFastError:
                raise
            except Exception:  # some networks need memory while they are built; weights are counted then, too
                with _limited(most_weights, most_values, source):
                    model_class(**keywords)
        except ModelError as error:
            raise CheckpointError(
                f"{source}: its configuration describes a model that cannot be built: {error}"
            ) from error
        except SlowFastError:
            raise
        except Exception as error:  # values of another kind raise errors of many types
            raise CheckpointError(
                f"{source}: its configuration describes a model that cannot be built "
                f"({type(error).__name__}: {first_line(error)}); it was written by another version, or "
                "was changed"
            ) from error


@contextmanager
def _limited(most_weights: int, most_values: int, source: str) -> Iterator[None]:
    """Ends the building of a model in this thread once it has more weights, or values in them."""
    thread, weights, values = threading.get_ident(), 0, 0

    def count(module: object, name: str, tensor: Tensor | None) -> None:
        nonlocal weights, values
        if tensor is None or threading.get_ident() != thread:
            return
        weights, values = weights + 1, values + tensor.numel()
        if weights > most_weights + _FREE_WEIGHTS or values > most_values + _FREE_NUMBERS:
            raise CheckpointError(
                f"{source}: its configuration describes a model of more than {values:,} values in "
                f"{weights:,} weights, but the file has far fewer; the two do not belong together"
            )

    handles = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _WithoutValues(TorchFunctionMode):
    """Leaves out the initialisation of weights on the meta device, where they have no values.

    It would let torch import its compiler and sympy, which take a second and 150 MB.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in _RANDOM_VALUES or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else options["tensor"]
        if func in _RANDOM_TENSORS:
            options.pop("generator", None)
            return torch.empty(*args, **options)
        return func(*args, **options)
