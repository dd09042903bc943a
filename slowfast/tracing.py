"""The tracing of models by ``torch.export`` and ``torch.compile``."""

from __future__ import annotations

import torch


def is_exporting() -> bool:
    """Returns whether a model is traced by ``torch.export``, whose graph is for inputs of any length.

    In torch 2.11 and before, ``torch.compiler.is_exporting`` is true within ``torch.compile`` as well.
    """
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
