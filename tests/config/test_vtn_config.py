"""VTN's config keys, their checks, and the shipped configurations."""

import sys
from pathlib import Path

import pytest
import yaml

from slowfast.config import load_config
from slowfast.config.values import flatten, value_of
from slowfast.errors import ConfigError
from slowfast.models.build import MODEL_REGISTRY
from tests.support.configs import problems_of
from vtn.config import ALIASES, OBSOLETE, attention_windows, backbone_name

ORIGINAL = Path(__file__).with_name("original_VIT_B_VTN.yaml")


def test_the_original_file_loads_unmodified_and_equals_the_shipped_configuration() -> None:
    theirs, ours = load_config(ORIGINAL), load_config("VIT_B_VTN")
    written = flatten(yaml.safe_load(ORIGINAL.read_text()))
    for name in written.keys() - set(OBSOLETE):
        key = ALIASES.get(name, name)
        assert value_of(theirs, key) == value_of(ours, key) == written[name], name
    assert len(written.keys() - set(OBSOLETE)) == 51
    assert backbone_name(theirs) == backbone_name(ours) == "vit_base_patch16_224"


def test_the_backbones_name_takes_precedence_over_the_architecture() -> None:
    overrides = ["MODEL.ARCH", "R50"]
    assert backbone_name(load_config(ORIGINAL, overrides)) == "resnet50"
    assert (
        backbone_name(load_config(ORIGINAL, [*overrides, "VTN.BACKBONE.NAME", "convnext_tiny"]))
        == "convnext_tiny"
    )


def test_one_attention_window_applies_to_all_layers() -> None:
    assert attention_windows(load_config("VIT_B_VTN", ["VTN.ATTENTION_WINDOW", "32"])) == [32, 32, 32]
    assert attention_windows(load_config("VIT_B_VTN", ["VTN.ATTENTION_WINDOW", "[2, 4, 18]"])) == [2, 4, 18]


@pytest.mark.parametrize(
    ("overrides", "key", "remedy"),
    [
        ("VTN.ATTENTION_WINDOW 17", "ATTENTION_WINDOW (override) = [17]", "even numbers from 2 on"),
        ("VTN.ATTENTION_WINDOW [18,0,18]", "ATTENTION_WINDOW (override) = [18, 0, 18]", "even numbers"),
        ("VTN.ATTENTION_WINDOW [18,18]", "ATTENTION_WINDOW (override)", "one per layer"),
        ("VTN.ATTENTION_WINDOW []", "ATTENTION_WINDOW (override)", "one window for all layers"),
        (
            "VTN.NUM_ATTENTION_HEADS 10",
            "NUM_ATTENTION_HEADS (override) = 10",
            "HIDDEN_DIM = 768; use for instance",
        ),
        ("VTN.NUM_ATTENTION_HEADS 0", "NUM_ATTENTION_HEADS (override) = 0", "1 or more"),
        ("VTN.INTERMEDIATE_SIZE 0", "INTERMEDIATE_SIZE (override) = 0", "1 or more"),
        ("VTN.MLP_DIM 0", "MLP_DIM (override) = 0", "1 or more"),
        ("VTN.MAX_POSITION_EMBEDDINGS 2", "MAX_POSITION_EMBEDDINGS (override) = 2", "3 or more"),
        ("VTN.LONGFORMER.POSITION fixed", "POSITION (override) = 'fixed'", "learned, sinusoidal, none"),
        ("VTN.LONGFORMER.POSITION_UNIT hour", "POSITION_UNIT (override) = 'hour'", "frame, second"),
        ("VTN.LONGFORMER.POSITION_RATE 0", "POSITION_RATE (override) = 0.0", "above 0"),
        ("VTN.HIDDEN_DROPOUT_PROB 1", "HIDDEN_DROPOUT_PROB (override) = 1.0", "less than 1"),
        ("VTN.DROP_PATH_RATE -0.1", "DROP_PATH_RATE (override) = -0.1", "0 or more"),
        (
            "VTN.BACKBONE.FROZEN True VTN.BACKBONE.LEARNING_NORMS True VTN.BACKBONE.FROZEN_DTYPE float16",
            "VTN.BACKBONE.FROZEN_DTYPE",
            "must be 'bfloat16' or '' where LEARNING_NORMS is True",
        ),
        (
            "VTN.BACKBONE.FROZEN True VTN.BACKBONE.LORA.RANK 4",
            "VTN.BACKBONE.LORA.RANK (override) = 4",
            "set it 0, or to train LoRA",
        ),
        ("VTN.BACKBONE.CHUNK_FRAMES -1", "CHUNK_FRAMES (override) = -1", "0 (all at once)"),
        ("VTN.BACKBONE.NAME '' MODEL.ARCH X3D", "MODEL.ARCH (override) = 'X3D'", "VIT, VIT_B, DEIT_B"),
        (
            "VTN.LONGFORMER.POSITION sinusoidal VTN.HIDDEN_DIM 15 VTN.NUM_ATTENTION_HEADS 3",
            "HIDDEN_DIM (override) = 15",
            "even width",
        ),
    ],
)
def test_an_impossible_value_is_refused_with_key_and_remedy(overrides: str, key: str, remedy: str) -> None:
    (problem,) = problems_of("VIT_B_VTN", *overrides.split())
    assert key in problem
    assert remedy in problem


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ("HIDDEN_DIM -2", "must be 0 or more"),
        ("NUM_BLOCKS 0", "must be 1 or more"),
        ("NUM_HEADS 0", "must be 1 or more"),
        ("MLP_RATIO 0", "must be above 0"),
        ("POSITION learned", "must be one of sinusoidal, none"),
        ("POSITION_UNIT hour", "must be one of frame, second"),
        ("POSITION_RATE 0", "must be above 0"),
        ("DROPOUT 1", "must be a fraction, 0 or more and less than 1"),
        ("NUM_HEADS 12", "must divide VTN.PROBE.HIDDEN_DIM = 128; use for instance 8"),
    ],
)
def test_an_impossible_value_of_the_probe_is_refused(overrides: str, problem: str) -> None:
    (found,) = problems_of("PRETRAINED_DEMO_PROBE", *f"VTN.PROBE.{overrides}".split())
    assert found.startswith(f"VTN.PROBE.{overrides.split()[0]} (override) = ")
    assert problem in found


def test_an_odd_width_of_the_probe_needs_no_sinusoidal_positions() -> None:
    odd = ["VTN.PROBE.HIDDEN_DIM", "15", "VTN.PROBE.NUM_HEADS", "3"]
    with pytest.raises(ConfigError, match="must be even, since sinusoidal positions"):
        load_config("PRETRAINED_DEMO_PROBE", odd)
    assert load_config("PRETRAINED_DEMO_PROBE", [*odd, "VTN.PROBE.POSITION", "none"])


def test_an_empty_mapping_removes_the_backbone_arguments_of_the_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("VTN:\n  BACKBONE:\n    ARGS:\n      depth: 3\n      width: 5\n")
    (tmp_path / "own.yaml").write_text("_BASE_: base.yaml\nVTN:\n  BACKBONE:\n    ARGS: {}\n")
    assert dict(load_config(tmp_path / "own.yaml").VTN.BACKBONE.ARGS) == {}
    overrides = ["VTN.BACKBONE.ARGS", "{}", "VTN.BACKBONE.ARGS.heads", "2"]
    assert dict(load_config(tmp_path / "base.yaml", overrides).VTN.BACKBONE.ARGS) == {"heads": 2}
    assert dict(
        load_config(tmp_path / "base.yaml", ["VTN.BACKBONE.ARGS", "{width: 6}"]).VTN.BACKBONE.ARGS
    ) == {"depth": 3, "width": 6}


def test_the_section_is_not_checked_for_other_models() -> None:
    assert load_config("VIT_B_VTN", ["MODEL.MODEL_NAME", "Another", "VTN.ATTENTION_WINDOW", "17"])


@pytest.mark.parametrize(("body", "is_checked"), [("", True), ("    from_config = None\n", False)])
def test_a_model_of_the_user_is_checked_as_the_one_that_it_extends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, is_checked: bool
) -> None:
    """Unless it builds itself from the configuration."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"Extended{is_checked}"
    (file := tmp_path / f"extended_{is_checked}.py").write_text(
        "from slowfast.models.build import MODEL_REGISTRY\nfrom vtn.model import VTN\n\n\n"
        f"@MODEL_REGISTRY.register()\nclass {name}(VTN):\n    other = 1\n{body}"
    )
    overrides = ["IMPORTS", f"['{file}']", "MODEL.MODEL_NAME", name, "VTN.ATTENTION_WINDOW", "17"]
    try:
        if not is_checked:
            assert load_config("VIT_B_VTN", overrides)
            return
        with pytest.raises(ConfigError, match=r"ATTENTION_WINDOW \(override\) = \[17\]: must be even"):
            load_config("VIT_B_VTN", overrides)
    finally:
        MODEL_REGISTRY._entries.pop(name)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("VIT_B_VNT", "did you mean VTN/VIT_B_VTN"),
        ("configs/VTN/vit_b_vtn_frozn.yaml", "did you mean VTN/VIT_B_VTN_FROZEN"),
        ("mine", r"give a YAML file or one of (?!.*/BASE_)"),
    ],
)
def test_an_unknown_configuration_name_gets_the_nearest_names(written: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_config(written)
