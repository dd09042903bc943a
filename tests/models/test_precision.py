"""The precision of training and test that keys choose."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from slowfast.config import get_default_config
from slowfast.config.check import check
from slowfast.errors import ConfigError
from slowfast.models import precision
from slowfast.models.precision import build_precision

CPU = torch.device("cpu")


def config(*changes: Any) -> Any:
    cfg = get_default_config()
    cfg.merge_from_list(list(changes))
    return cfg


@pytest.mark.parametrize(
    ("changes", "training", "test"),
    [
        ((), None, None),
        (("TRAIN.MIXED_PRECISION", True), torch.bfloat16, torch.bfloat16),
        (("TRAIN.PRECISION", "mixed"), torch.bfloat16, torch.bfloat16),
        (("TRAIN.PRECISION", "float16"), torch.float16, torch.float16),
        (("TRAIN.PRECISION", "bfloat16", "TEST.PRECISION", "float32"), torch.bfloat16, None),
        (("TEST.PRECISION", "bfloat16"), None, torch.bfloat16),
    ],
)
def test_the_test_computes_as_training_unless_asked(
    changes: tuple[Any, ...], training: torch.dtype | None, test: torch.dtype | None
) -> None:
    cfg = config(*changes)
    assert build_precision(cfg, "train", CPU).dtype == build_precision(cfg, "val", CPU).dtype == training
    assert build_precision(cfg, "test", CPU).dtype == test


def test_bfloat16_is_refused_where_the_device_cannot_compute_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "supports_bfloat16", lambda device: False)
    cuda = torch.device("cuda")
    assert build_precision(config("TRAIN.PRECISION", "mixed"), "train", cuda).dtype == torch.float16
    for key, split in (("TRAIN.PRECISION", "train"), ("TEST.PRECISION", "test")):
        with pytest.raises(ConfigError, match=rf"{key} = 'bfloat16': must be another dtype on this cuda"):
            build_precision(config(key, "bfloat16"), split, cuda)


def test_two_names_for_two_precisions_are_refused() -> None:
    found = check(config("TRAIN.MIXED_PRECISION", True, "TRAIN.PRECISION", "float16"))
    assert any("TRAIN.PRECISION = 'float16': must be mixed where TRAIN.MIXED_PRECISION" in p for p in found)
