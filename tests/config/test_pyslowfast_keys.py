"""Keys of PySlowFast that are not read: ignored, with another effect, or refused for another model."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from slowfast.config import load_config, obsolete
from slowfast.models.pytorchvideo.config import FIXED_KEYS, OBSOLETE
from tests.support.configs import problems_of

# The parts of PySlowFast's Kinetics/MVITv2_S_16x4.yaml that make it version 2.
MVIT_V2 = """
MODEL: {MODEL_NAME: PTVMViT, ARCH: mvit}
DATA: {TRAIN_CROP_SIZE: 224, TEST_CROP_SIZE: 224, USE_OFFSET_SAMPLING: True}
MVIT:
  ZERO_DECAY_POS_CLS: False
  USE_ABS_POS: False
  REL_POS_SPATIAL: True
  REL_POS_TEMPORAL: True
  DIM_MUL_IN_ATT: True
  RESIDUAL_POOLING: True
  CLS_EMBED_ON: True
  NORM: layernorm
"""
# PySlowFast's Kinetics/C2D_8x8_R50.yaml, as far as it has keys that are not read.
C2D = """
TRAIN: {CHECKPOINT_TYPE: pytorch}
BN: {USE_PRECISE_STATS: True, NUM_BATCHES_PRECISE: 200}
RESNET:
  ZERO_INIT_FINAL_BN: True
  NUM_GROUPS: 1
  STRIDE_1X1: False
  TRANS_FUNC: bottleneck_transform
  SPATIAL_STRIDES: [[1, 1], [2, 2], [2, 2], [2, 2]]
  SPATIAL_DILATIONS: [[1], [1], [1], [1]]
NONLOCAL: {GROUP: [[1], [1], [1], [1]]}
MODEL: {MODEL_NAME: ResNet, ARCH: c2d}
"""


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def write(folder: Path, content: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(content)
    return path


def test_keys_that_are_not_read_are_listed_in_one_warning(
    tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    path = write(
        tmp_path,
        "AUG: {RE_SPLIT: True}\nMULTIGRID: {EPOCH_FACTOR: 1.5}\nVTN: {PAD_TOKEN_ID: -1}\n"
        "MODEL: {MODEL_NAME: VTN, ARCH: VIT}\nTENSORBOARD: {MODEL_VIS: {GRAD_CAM: {ENABLE: True}}}\n"
        "PREFETCH: {NUM_LOADERS: 3}\n",
    )
    load_config(path, ["MVIT.NORM", "layernorm"])
    (text,) = messages.messages
    keys = (
        "AUG.RE_SPLIT, MULTIGRID.*, VTN.PAD_TOKEN_ID, TENSORBOARD.MODEL_VIS.GRAD_CAM.*, PREFETCH.*, MVIT.NORM"
    )
    assert text == f"{path}: these keys of PySlowFast are not read here: {keys}"


def test_a_key_of_which_there_is_one_value_is_in_one_list() -> None:
    ignored = obsolete.KEYS | set(OBSOLETE)
    assert not ignored & (obsolete.FIXED_KEYS.keys() | FIXED_KEYS.keys())


def test_mvit_version_2_is_not_built_as_version_1(tmp_path: Path) -> None:
    path = write(tmp_path, MVIT_V2)
    assert problems_of(path) == [
        f"MVIT.USE_ABS_POS ({path}, line 6) = False: must be True, "
        f"MVIT.REL_POS_SPATIAL ({path}, line 7) = True: must be False, "
        f"MVIT.REL_POS_TEMPORAL ({path}, line 8) = True: must be False, "
        f"MVIT.DIM_MUL_IN_ATT ({path}, line 9) = True: must be False, "
        f"MVIT.RESIDUAL_POOLING ({path}, line 10) = True: must be False, "
        "since only MViT version 1 with separate absolute positions is available"
    ]
    # Another model does not read these keys.
    assert load_config(write(tmp_path, MVIT_V2.replace("PTVMViT", "PTVX3D"))).MODEL.MODEL_NAME == "PTVX3D"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.DETACH_FINAL_FC", "True"),
        ("MODEL.FROZEN_BN", "True"),
        ("SOLVER.LARS_ON", "True"),
        ("MULTIGRID.SHORT_CYCLE", "True"),
        ("MULTIGRID", "{LONG_CYCLE: True, EPOCH_FACTOR: 1.5}"),
        ("DATA.SKIP_ROWS", "10"),
        ("BN.MOMENTUM", "0.01"),
    ],
)
def test_another_training_is_refused_and_a_test_is_not(key: str, value: str) -> None:
    (problem,) = problems_of("SLOW_8x8_R50", key, value)
    assert problem.startswith(key)
    assert ": must be " in problem
    assert load_config("SLOW_8x8_R50", [key, value, "TRAIN.ENABLE", "False"])


def test_an_override_takes_the_value_of_a_file_back(tmp_path: Path) -> None:
    path = write(tmp_path, C2D.replace("ARCH: c2d", "ARCH: c2d, DETACH_FINAL_FC: True"))
    assert len(problems_of(path)) == 1
    assert load_config(path, ["MODEL.DETACH_FINAL_FC", "False"])


def test_the_usual_files_are_accepted_with_the_difference_that_they_have(
    tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, C2D)
    load_config(path)
    assert messages.messages == [
        f"{path}: these keys of PySlowFast are not read here: BN.NUM_BATCHES_PRECISE",
        f"{path}: keys of PySlowFast with another effect here: BN.USE_PRECISE_STATS ({path}, line 3) = True: "
        "batch norms keep the moving averages of training, so that validations and tests differ slightly",
    ]


def test_networks_of_another_form_are_refused() -> None:
    for value in ("[[1], [1], [1], [2]]", "[[[1]]]", "2"):
        (problem,) = problems_of("SLOW_8x8_R50", "RESNET.SPATIAL_DILATIONS", value)
        assert "must be [[1], [1], [1], [1]]" in problem
    assert len(problems_of("X3D_M", "X3D.BN_LIN5", "True")) == 1
    assert load_config("X3D_M", ["RESNET.TRANS_FUNC", "x3d_transform"])


def test_pyslowfasts_decoder_becomes_pyav(messages: pytest.LogCaptureFixture) -> None:
    cfg = load_config("SLOW_8x8_R50", ["DATA.DECODING_BACKEND", "torchvision"])
    assert cfg.DATA.DECODING_BACKEND == "pyav"
    (text,) = messages.messages
    assert text.endswith("DATA.DECODING_BACKEND (override) = 'torchvision': pyav is used")
    messages.clear()
    overrides = ["DATA.DECODING_BACKEND", "torchvision", "DATA.DECODING_BACKEND", "torchcodec"]
    assert load_config("SLOW_8x8_R50", overrides).DATA.DECODING_BACKEND == "torchcodec"
    assert messages.messages == []


@pytest.mark.parametrize("text", ["None", "null", "'None'"])
def test_no_colour_jitter_may_be_written_as_in_pyslowfast(tmp_path: Path, text: str) -> None:
    """The files of its masked models have ``COLOR_JITTER: None``."""
    content = C2D + f"AUG: {{ENABLE: True, COLOR_JITTER: {text}}}\n"
    assert load_config(write(tmp_path, content)).AUG.COLOR_JITTER == 0
    assert load_config("SLOW_8x8_R50", ["AUG.COLOR_JITTER", text]).AUG.COLOR_JITTER == 0


def test_the_section_of_a_model_that_is_not_here_is_not_taken_for_another(tmp_path: Path) -> None:
    (problem,) = problems_of(write(tmp_path, C2D + "UNIFORMER: {DEPTH: 12}\n"))
    assert problem.endswith(
        "unknown section; its keys are of a model or program that is not part of this one: remove it"
    )
    (problem,) = problems_of(write(tmp_path, C2D + "SOLVR: {BASE_LR: 0.1}\n"))
    assert problem.endswith("unknown section; did you mean SOLVER?")


def test_a_repeated_key_names_the_value_that_pyslowfast_takes(tmp_path: Path) -> None:
    (problem,) = problems_of(write(tmp_path, C2D + "SOLVER:\n  MAX_EPOCH: 75\n  MAX_EPOCH: 50\n"))
    assert problem.endswith("= 75; keep one of them, of which PySlowFast takes the last one")
