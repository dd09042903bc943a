"""Arguments of the models: groups, flat names, errors."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slowfast.config import get_default_config, load_config
from slowfast.config.values import value_of
from slowfast.errors import CheckpointError, ModelError
from tests.support.tiny_models import CLASSES, TINY, tiny_groups
from vtn import (
    VTN,
    AttentiveProbe,
    BackboneConfig,
    EncoderConfig,
    FrameAverage,
    FusionConfig,
    HeadConfig,
    InputConfig,
    ProbeConfig,
)
from vtn.arguments.flat_fields import FusedModelFields, ProbeFields, VTNFields
from vtn.arguments.model_arguments import FLAT_NAMES, FusedModelArguments, ProbeArguments, VTNArguments
from vtn.config import REQUIREMENTS

# A value per flat name that differs from the default.
OTHER_VALUES: dict[str, Any] = {
    "pretrained": False,
    "backbone_checkpoint": "weights.pyth",
    "pooling": "mean",
    "tokens": [3, 2],
    "class_token": True,
    "stage": 2,
    "frozen": True,
    "frozen_blocks": 2,
    "learning_norms": True,
    "frozen_dtype": "bfloat16",
    "lora": {"rank": 4},
    "backbone_args": {"img_size": 32},
    "drop_rate": 0.25,
    "drop_path_rate": 0.25,
    "chunk_frames": 8,
    "clip_frames": 8,
    "clip_stride": 4,
    "act_checkpoint": True,
    "act_checkpoint_every": 2,
    "hidden_dim": 32,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 64,
    "attention_window": [4],
    "position": "none",
    "max_position_embeddings": 100,
    "position_rate": 25.0,
    "encoder_checkpoint": "longformer",
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "adapt_positions": True,
    "fusion_kind": "attend",
    "fusion_dim": 8,
    "fusion_queries": 2,
    "input_standardize": True,
    "input_differences": True,
    "input_dropout": 0.25,
    "mlp_dim": 16,
    "dropout_rate": 0.0,
    "head_pooling": "cls+mean+std",
    "head_skip": True,
    "probe_hidden_dim": 32,
    "probe_num_blocks": 2,
    "probe_num_heads": 2,
    "probe_mlp_ratio": 2.0,
    "probe_position": "none",
    "probe_position_rate": 25.0,
    "probe_dropout": 0.25,
}


GROUPS: dict[str, Any] = {
    "backbone": BackboneConfig,
    "fusion": FusionConfig,
    "encoder": EncoderConfig,
    "probe": ProbeConfig,
    "head": HeadConfig,
    "input": InputConfig,
}


def seeded(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return VTN(*args, **kwargs).state_dict()


def test_groups_and_flat_names_give_the_same_model() -> None:
    flat = seeded("shallow_conv", **TINY)
    backbone, encoder, head = tiny_groups()
    for grouped in (
        seeded(backbone, CLASSES, encoder=encoder, head=head),
        seeded(vars(backbone), CLASSES, encoder=vars(encoder), head=vars(head)),
    ):
        assert list(grouped) == list(flat)
        assert all(torch.equal(grouped[name], value) for name, value in flat.items())


def test_every_field_has_a_flat_name() -> None:
    in_groups = {(group, item.name) for group, kind in GROUPS.items() for item in fields(kind)}
    assert set(FLAT_NAMES.values()) == in_groups - {("backbone", "name")}
    assert OTHER_VALUES.keys() == FLAT_NAMES.keys()


@pytest.mark.parametrize("name", FLAT_NAMES)
def test_a_flat_name_sets_its_field_alone(name: str) -> None:
    value, (group, field) = OTHER_VALUES[name], FLAT_NAMES[name]
    default = ProbeArguments() if group == "probe" else VTNArguments()
    changed = default.changed({name: value})
    assert getattr(getattr(changed, group), field) == value != getattr(getattr(default, group), field)
    assert replace(changed, **{group: getattr(default, group)}) == default


def test_a_field_beside_its_group_replaces_that_of_the_group() -> None:
    arguments = VTNArguments().changed({"num_layers": 1, "encoder": EncoderConfig(hidden_dim=48)})
    assert arguments.encoder == EncoderConfig(hidden_dim=48, num_layers=1)


def test_a_mapping_sets_fields_and_a_group_replaces_all() -> None:
    start = VTNArguments().changed({"hidden_dim": 48, "num_layers": 2})
    assert start.changed({"encoder": {"num_layers": 1}}).encoder == EncoderConfig(hidden_dim=48, num_layers=1)
    assert start.changed({"encoder": EncoderConfig(num_layers=1)}).encoder == EncoderConfig(num_layers=1)
    assert start.changed({"encoder": None}) == start


def test_the_name_of_a_backbone_leaves_the_rest_of_its_group() -> None:
    start = VTNArguments().changed({"frozen": True})
    assert start.changed({"backbone": "resnet18"}).backbone == BackboneConfig("resnet18", frozen=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pretraned": False}, "pretraned: the model has no such argument; did you mean pretrained"),
        ({"num_class": 3}, "did you mean num_classes"),
        ({"encoder": {"num_layer": 1}}, "encoder.num_layer: EncoderConfig has no such field; did you mean "
         "encoder.num_layers"),
        ({"head": 3}, "head = 3: must be of type HeadConfig or a mapping of its fields"),
        ({"backbone": 3}, "backbone = 3: must be a name, a network, of type BackboneConfig or a mapping"),
        ({"backbone": nn.Linear}, "linear.Linear'>: must be a name, a network, of type BackboneConfig"),
        ({"encoder": HeadConfig()}, "must be of type EncoderConfig"),
        ({"num_classes": 0}, "num_classes = 0: must be 1 or more"),
        ({"num_classes": "3"}, "num_classes = '3': must be 1 or more, as a whole number"),
        ({"num_classes": 3.0}, "num_classes = 3.0: must be 1 or more, as a whole number"),
        ({"num_classes": np.ones(2)}, "must be 1 or more, as a whole number"),
        ({"hidden_dim": 0}, "encoder.hidden_dim = 0: must be 1 or more"),
        ({"hidden_dim": "64"}, "encoder.hidden_dim = '64': must be 1 or more"),
        ({"num_heads": 2.0}, "encoder.num_heads = 2.0: must be a whole number"),
        ({"num_classes": True}, "num_classes = True: must be 1 or more, as a whole number"),
        ({"frozen_blocks": True}, "backbone.frozen_blocks = True: must be a whole number"),
        ({"frozen": "False"}, "backbone.frozen = 'False': must be True or False"),
        ({"tokens": 4}, "backbone.tokens = 4: must be rows and columns of a grid"),
        ({"position_rate": 0.0}, "encoder.position_rate = 0.0: must be above 0"),
        ({"chunk_frames": -1}, "backbone.chunk_frames = -1: must be 0 (all at once) or more"),
        ({"frozen_dtype": "int8"}, "backbone.frozen_dtype = 'int8': must be one of bfloat16, float16, ''"),
        ({"lora": {"rnk": 4}}, "its fields are rank, alpha, dropout, targets"),
        ({"lora": 5}, "lora = 5: must be a mapping"),
        ({"backbone_args": 5}, "args = 5: must be a mapping"),
        ({"lora": {}}, "its fields are rank, alpha, dropout, targets"),
    ],
)  # fmt: skip
def test_arguments_with_errors_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        VTN(**{"backbone": "shallow_conv", "pretrained": False, **arguments})


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (VTN, {"num_heads": 5}, "encoder.num_heads = 5: must divide encoder.hidden_dim = 768; use for"),
        (VTN, {"encoder": {"attention_window": 5}}, "encoder.attention_window = 5: must be even"),
        (VTN, {"attention_window": [4, 4]}, "or one per layer; encoder.num_layers is 3"),
        (VTN, {"position": "sinusoidal", "hidden_dim": 9, "num_heads": 3}, "encoder.hidden_dim = 9: must be"),
        (VTN, {"lora": {"rank": 2}, "frozen": True}, "backbone.lora: freezes the backbone by itself"),
        (VTN, {"lora": {"rnk": 2}}, "its fields are rank, alpha, dropout, targets"),
        (VTN, {"lora": {"rank": "4"}}, "backbone.lora.rank = '4': must be a whole number"),
        (VTN, {"lora": {"rank": True}}, "backbone.lora.rank = True: must be a whole number"),
        (VTN, {"lora": {"rank": 0}}, "backbone.lora.rank = 0: must be 1 or more"),
        (VTN, {"lora": {"rank": -1}}, "backbone.lora.rank = -1: must be 1 or more"),
        (VTN, {"lora": {"rank": 2, "alpha": 0}}, "backbone.lora.alpha = 0: must be above 0"),
        (VTN, {"lora": {"rank": 2, "dropout": 2}}, "backbone.lora.dropout = 2: must be a fraction"),
        (VTN, {"lora": {"rank": 2, "targets": "qkv"}}, "backbone.lora.targets = 'qkv': must be a list of"),
        (VTN, {"position_rate": float("inf")}, "encoder.position_rate = inf: must be above 0 positions per"),
        (VTN, {"lora": {"rank": 2, "alpha": float("inf")}}, "lora.alpha = inf: must be above 0 and finite"),
        (VTN, {"lora": {"rank": 2, "targets": [1]}}, "backbone.lora.targets = [1]: must be a list of names"),
        (VTN, {"lora": {"rank": 2, "targets": None}}, "lora.targets = None: must be a list of names"),
        (AttentiveProbe, {"probe": {"hidden_dim": 100}}, "probe.num_heads = 16: must divide probe."),
        (FrameAverage, {"fusion": "sequence", "tokens": [2, 2]}, "fusion.kind = 'sequence': must be concat"),
    ],
)  # fmt: skip
def test_what_the_arguments_tell_is_refused_before_the_backbone_is_built(
    kind: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        kind("no_such_backbone", **arguments)


def test_a_missing_longformer_is_reported_before_the_backbone_is_built() -> None:
    with pytest.raises(CheckpointError, match=r"VTN\.LONGFORMER\.CHECKPOINT = 'missing': does not exist"):
        VTN("no_such_backbone", encoder_checkpoint="missing")


def test_a_model_without_an_encoder_refuses_its_fields() -> None:
    with pytest.raises(ModelError, match="hidden_dim: the model has no such argument"):
        FrameAverage("shallow_conv", hidden_dim=32)


@pytest.mark.parametrize(
    "arguments", [{"fusion": "attend"}, {"fusion_dim": 8}, {"mlp_dim": 16}, {"head": None}]
)
def test_a_probe_refuses_the_arguments_of_fusion_and_head(arguments: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=f"{next(iter(arguments))}: the model has no such argument"):
        AttentiveProbe("shallow_conv", **arguments)


@pytest.mark.parametrize("kind", GROUPS.values())
def test_a_field_accepts_what_its_key_does(kind: Any) -> None:
    cfg = get_default_config()
    for item in fields(kind):
        key = item.metadata.get("key")
        if key is None:
            continue
        value = value_of(cfg, key)
        kind(**{item.name: value})
        if key in REQUIREMENTS:
            wrong = "other" if isinstance(value, str) else [0, 1] if isinstance(value, list) else -1
            problem = f"{kind.group}.{item.name} = {wrong!r}: must be {REQUIREMENTS[key].text}"
            with pytest.raises(ModelError, match=re.escape(problem)):
                kind(**{item.name: wrong})


@pytest.mark.parametrize(
    ("typed", "kind"),
    [(FusedModelFields, FusedModelArguments), (VTNFields, VTNArguments), (ProbeFields, ProbeArguments)],
)
def test_editors_know_all_flat_names_with_the_types_of_the_fields(typed: Any, kind: Any) -> None:
    groups = {name: group for name, group in kind().as_keywords().items() if name in GROUPS}
    expected = {
        flat: next(item.type for item in fields(groups[group]) if item.name == field_name)
        for flat, (group, field_name) in FLAT_NAMES.items()
        if group in groups
    }
    found = {name: hint.__forward_arg__ for name, hint in typed.__annotations__.items()}
    assert found == expected


def test_every_field_is_documented() -> None:
    for kind in (BackboneConfig, EncoderConfig, HeadConfig, ProbeConfig):
        attributes, _, _ = inspect.cleandoc(kind.__doc__ or "").partition("Raises:")
        documented = re.findall(r"^    (\w+): ", attributes, re.MULTILINE)
        assert documented == [item.name for item in fields(kind)]


def test_a_model_keeps_the_arguments_it_was_built_from() -> None:
    backbone, encoder, head = tiny_groups()
    model = VTN(backbone, CLASSES, encoder=encoder, head=head)
    assert model.arguments == VTNArguments(backbone, CLASSES, head, encoder)
    average = FrameAverage(backbone, CLASSES, head=head)
    assert average.arguments == FusedModelArguments(backbone, CLASSES, head)


def test_groups_are_read_from_a_configuration() -> None:
    overrides = ["VTN.BACKBONE.CHECKPOINT", "weights.pyth", "VTN.BACKBONE.LORA.RANK", "4"]
    cfg = load_config("QUICKSTART", overrides)
    arguments = VTNArguments.from_config(cfg)
    assert arguments.backbone == BackboneConfig(
        "shallow_conv",
        checkpoint="weights.pyth",  # a file of weights is loaded even where PRETRAINED is False
        lora={"rank": 4, "alpha": 16.0, "dropout": 0.0, "targets": []},
        args={"image_size": 32, "width": 16, "feature_dim": 128},
    )
    assert arguments.encoder == EncoderConfig(128, 2, 4, 512, 18, position="sinusoidal", position_rate=25.0)
    assert (arguments.head, arguments.num_classes) == (HeadConfig(128, 0.1), 8)
    probe = ProbeArguments.from_config(load_config("PRETRAINED_DEMO_PROBE"))
    assert probe.probe == ProbeConfig(128, 4, 4, position_rate=25.0, dropout=0.1)
    without = arguments.without_weights().backbone
    assert (without.pretrained, without.checkpoint) == (False, "")


def test_a_network_as_backbone_is_used_as_it_is() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    network.feature_dim = 12
    model = VTN(network, encoder=tiny_groups()[1])
    assert model.backbone is network
    assert model.feature_dim == 12
