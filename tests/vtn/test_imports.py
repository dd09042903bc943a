"""Imports of the package: nothing heavy before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vtn


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_project_is_imported_without_torch() -> None:
    run_python("import sys, vtn.project; assert 'torch' not in sys.modules")


def test_the_model_is_imported_without_slow_modules_and_built_without_transformers() -> None:
    """Sharded tensors and symbolic shapes take a second to import, and a single process needs neither."""
    run_python(
        "import sys; from vtn import VTN; "
        "slow = {'torch.distributed.tensor', 'sympy', 'timm', 'transformers'} & sys.modules.keys(); "
        "assert not slow, slow; "
        "VTN('shallow_conv', hidden_dim=12); assert 'transformers' not in sys.modules"
    )


def test_all_names_are_found() -> None:
    assert {
        "AttentiveProbe", "BACKBONE_REGISTRY", "VTN", "BackboneConfig", "ClipDescription", "EncoderConfig",
        "Explanation", "ExplanationRequest", "FrameAverage", "FusionConfig", "HeadConfig", "InputConfig",
        "Prediction", "Predictor", "ProbeConfig", "Score", "Timeline", "VideoFeatures", "VideoStream",
        "create_model", "list_models", "score_video", "score_windows",
    } == set(vtn.__all__)  # fmt: skip
    assert set(vtn.__all__) <= set(dir(vtn))
    assert all(getattr(vtn, name) is not None for name in vtn.__all__)
    with pytest.raises(AttributeError, match="Vtn"):
        _ = vtn.Vtn
