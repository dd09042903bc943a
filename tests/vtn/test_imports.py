"""Imports of the package: nothing heavy before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vtn
from tests.support.tiny_models import SHALLOW, publish_tiny
from tests.support.videos import write_video


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_project_is_imported_without_torch() -> None:
    run_python("import sys, vtn.project; assert 'torch' not in sys.modules")


def test_the_arguments_of_a_prediction_are_read_without_torch() -> None:
    """Ctrl-C during an import of torch here ended in a traceback, and wrong arguments took seconds."""
    run_python(
        "import sys; from vtn.cli.predict import build_parser; "
        "build_parser().parse_intermixed_args(['model', 'video.mp4', '--jsonl', 'scores.jsonl']); "
        "assert 'torch' not in sys.modules"
    )


def test_a_video_is_scored_without_slow_modules(tmp_path: Path) -> None:
    """Sharded tensors, the compiler and symbolic shapes take a second to import; predictions need none."""
    folder = publish_tiny(tmp_path, *SHALLOW)
    video = write_video(tmp_path / "v.mp4", 8, size=(32, 32))
    run_python(
        f"import sys; from vtn import VTN, Predictor; Predictor({str(folder)!r}).overview({str(video)!r}); "
        "names = {'torch.distributed.tensor', 'torch._dynamo', 'sympy', 'timm', 'transformers'}; "
        "slow = names & sys.modules.keys(); assert not slow, slow"
    )


def test_a_program_keeps_its_settings(tmp_path: Path) -> None:
    """INFO lines came uninvited, and the start method of processes could not be set after a time limit."""
    folder = publish_tiny(tmp_path, *SHALLOW)
    video = write_video(tmp_path / "v.mp4", 8, size=(32, 32))
    run_python(
        "import logging, multiprocessing, vtn; "
        f"predictor = vtn.Predictor({str(folder)!r}); "
        f"(result,) = predictor.stream([{str(video)!r}], time_limit=60); assert not result.error; "
        "loggers = [logging.getLogger(name) for name in ('slowfast.video.container', 'vtn.factory')]; "
        "assert not logging.root.handlers; "
        "assert all(one.getEffectiveLevel() == logging.WARNING for one in loggers), loggers; "
        "multiprocessing.set_start_method('spawn')"
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
