"""The attentive probe: scores, what the engine asks of a model, configurations, training, folders.

T frames, M tokens of a frame, F width of a token, D width.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slowfast.config import load_config
from slowfast.engine.run import run
from slowfast.errors import ModelError
from slowfast.models import build_model
from slowfast.models.complexity import clip_complexity, count_parameters
from slowfast.video.frame_times import FrameTimes
from tests.support.clips import backbone as clip_backbone  # noqa: F401 (registers its backbone)
from tests.support.tiny_models import (
    CLASSES,
    SIZE,
    TINY,
    random_features,
    tiny_probe,
    with_large_weights,
)
from vtn import (
    AttentiveProbe,
    BackboneConfig,
    ProbeConfig,
    VideoFeatures,
    VideoStream,
    create_model,
    list_models,
    score_video,
    score_windows,
)
from vtn.publishing.publish import publish


def tiny_tokens(**changes: object) -> AttentiveProbe:
    """Returns a probe for frames of 32 pixels with 2 × 2 tokens of width 16."""
    backbone = {"image_size": 32, "width": 4, "feature_dim": 24}
    return tiny_probe(tokens=(2, 2), backbone_args=backbone, **changes)


def test_the_default_is_the_papers_probe_for_vit_b() -> None:
    """Three self-attention blocks of 12 D² weights, the query's block of 11 D², a linear classifier."""
    with torch.device("meta"):
        model = AttentiveProbe(BackboneConfig(pretrained=False))
    D, K = 768, 400
    matrices = 3 * 12 * D**2 + 11 * D**2 + D * K
    vectors = 3 * 13 * D + 12 * D + D + K  # biases, norms, the query
    probe = count_parameters(model) - count_parameters(model.backbone)
    assert probe == matrices + vectors
    assert not model.pooler.projection.state_dict()
    assert {block.attention.num_heads for block in (*model.pooler.blocks, model.pooler.query_block)} == {16}


@pytest.mark.parametrize(("build", "shape"), [(tiny_probe, (24,)), (tiny_tokens, (4, 16))])
@torch.no_grad()
def test_frames_features_streams_and_windows_give_the_same_scores(
    build: Callable[..., AttentiveProbe], shape: tuple[int, ...]
) -> None:
    model = build(chunk_frames=4, probe_position_rate=25.0)
    side = SIZE if len(shape) == 1 else 32
    frames = np.random.default_rng(0).integers(0, 256, (21, side, side, 3), np.uint8)
    mean, std = (torch.tensor(value)[:, None, None, None] for value in (model.frame_mean, model.frame_std))
    clip = (torch.from_numpy(frames).permute(3, 0, 1, 2)[None] / 255 - mean) / std
    positions = torch.arange(21)[None] * 5  # 25 positions per second, 5 frames per second
    features = model.encode_frames(clip)
    assert features.shape == (1, 21, *shape)
    logits = model.classify(features, positions)
    torch.testing.assert_close(model(clip, positions), logits)
    assert (model.classify(features, positions.flip(1)) - logits).abs().max() > 1e-3
    stream = VideoStream(model)
    for first in range(0, 21, 5):
        part = frames[first : first + 5]
        stream.push(part, (first + np.arange(len(part))) / 5)
    np.testing.assert_allclose(stream.scores(), logits.softmax(1)[0].numpy(), atol=1e-5)
    video = VideoFeatures(features[0], FrameTimes(np.arange(21) / 5, 4.2), np.arange(21))
    timeline = score_windows(model, video, 2.0, 1.5)  # the last window is shorter, and padded
    np.testing.assert_allclose(timeline.scores[1], score_video(model, video.part(1.5, 3.5)), atol=1e-5)
    np.testing.assert_allclose(timeline.scores[2], score_video(model, video.part(3.0, 5.0)), atol=1e-5)


def test_the_width_of_the_features_is_the_default_and_must_fit() -> None:
    model = tiny_probe(probe_hidden_dim=0, probe_num_heads=4)
    assert model.classifier.in_features == model.feature_dim == 24
    with pytest.raises(ModelError, match=r"probe\.num_heads = 16: must divide the width of the features = 2"):
        tiny_probe(probe_hidden_dim=0, probe_num_heads=16)


@torch.no_grad()
def test_prepared_inference_computes_in_the_dtype_and_returns_the_models() -> None:
    model = tiny_probe()
    expected = model.classify(random_features())
    dtypes: list[torch.dtype] = []
    model.pooler.blocks[0].attention.output.register_forward_hook(lambda *call: dtypes.append(call[-1].dtype))
    logits = model.prepare_inference(torch.bfloat16).classify(random_features())
    assert dtypes == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert 0 < (logits - expected).abs().max() < 0.1
    torch.testing.assert_close(model.prepare_inference().classify(random_features()), expected)


def test_dropout_acts_in_training_only() -> None:
    model, features = tiny_probe(probe_dropout=0.5), random_features()
    torch.testing.assert_close(model.classify(features), tiny_probe().classify(features))
    model.train()
    assert not torch.equal(model.classify(features), model.classify(features))


@torch.no_grad()
def test_time_steps_of_a_clip_encoder_are_tokens_of_the_probe() -> None:
    """Two clips of 8 and 6 frames, two frames per step; the last 4 frames of the second video are missing."""
    changes: dict[str, Any] = {"tokens": (2, 2), "backbone_args": {}, "frozen": True}
    model = with_large_weights(AttentiveProbe("tiny_clips", CLASSES, probe_num_heads=2, **changes))
    frames, mask = torch.randn(2, 3, 14, 32, 32), torch.arange(14) < torch.tensor([[14], [10]])
    features = model.encode_frames(frames, mask)
    assert features.shape == (2, 7, 4, 8)
    steps, positions = torch.arange(7) < torch.tensor([[7], [5]]), (torch.arange(7) * 2).expand(2, -1)
    logits = model(frames, mask=mask)
    torch.testing.assert_close(model.classify(features, positions, steps), logits)
    torch.testing.assert_close(model(frames[1:, :, :10]), logits[1:], atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------- for the engine


def test_query_and_positions_have_no_weight_decay() -> None:
    assert tiny_tokens().no_weight_decay() == {"pooler.query", "pooler.spatial_positions"}
    assert tiny_probe().no_weight_decay() == {"pooler.query"}


def test_layer_depths_increase_from_input_to_output() -> None:
    model = tiny_tokens()
    path = [
        "backbone.stages.0.weight", "pooler.spatial_positions", "pooler.blocks.0.mlp.output.weight",
        "pooler.blocks.1.norm1.bias", "pooler.query", "classifier.weight",
    ]  # fmt: skip
    (first, total), *rest = (model.layer_id(name) for name in path)
    assert [(first, total), *rest] == [(first + number, total) for number in range(len(path))]
    assert first + len(path) == total
    assert model.layer_id("pooler.query_block.mlp.output.weight") == model.layer_id("pooler.query")
    assert model.layer_id("pooler.projection.weight") == model.layer_id("pooler.spatial_positions")


def test_shard_units_are_the_blocks_of_the_backbone_and_of_the_probe() -> None:
    model = AttentiveProbe("test_vit", 3, pretrained=False, backbone_args={"img_size": 32}, probe_num_heads=4)
    own = [*model.pooler.blocks, model.pooler.query_block]
    assert model.shard_units() == [*model.backbone.blocks, *own]


def test_multiply_adds_of_attention_grow_with_the_square_of_the_tokens() -> None:
    """Each of two blocks of self-attention takes 2 S² D products, that of the query 2 S D."""
    for frames in (8, 16):
        S = 4 * frames
        counted = clip_complexity(tiny_tokens(), frames, 32).modules["pooler"]
        assert counted.attention == 2 * (2 * S * S * 32) + 2 * S * 32


# --------------------------------------------------------------------- configurations and folders


def test_a_shipped_configuration_builds_the_probe() -> None:
    assert list_models("*probe*") == ["PRETRAINED_DEMO_PROBE"]
    model = create_model("VIT_B_VTN", overrides=("MODEL.MODEL_NAME", "AttentiveProbe"), pretrained=False,
                         backbone="shallow_conv", probe={"num_blocks": 1})  # fmt: skip
    assert isinstance(model, AttentiveProbe)
    assert model.arguments.probe == ProbeConfig(num_blocks=1)
    assert not model.pooler.blocks
    overrides = ["VTN.BACKBONE.PRETRAINED", "False"]
    with torch.device("meta"):
        built = build_model(load_config("PRETRAINED_DEMO_PROBE", overrides))
    assert (built.num_tokens, built.feature_dim, built.position_rate) == (9, 1280, 25.0)


def test_it_is_trained_on_features_of_other_programs_and_published(tmp_path: Path) -> None:
    """Learns classes that differ in the order of frames alone; the published model gives the same logits."""
    generator = np.random.default_rng(0)
    names = [f"{number}.npy" for number in range(16)]
    for number, name in enumerate(names):
        ramp = np.linspace(-1, 1, 12)[:: 1 if number % 2 else -1]  # rises or falls
        noise = generator.normal(0, 0.1, (12, 4, 24))
        np.save(tmp_path / name, (noise + ramp[:, None, None]).astype(np.float16))
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text("".join(f"{n} {i % 2}\n" for i, n in enumerate(names)))
    settings = {
        "DATA.PATH_TO_DATA_DIR": tmp_path, "DATA.PATH_PREFIX": tmp_path, "OUTPUT_DIR": tmp_path / "run",
        "TRAIN.DATASET": "features", "TEST.DATASET": "features", "DATA.FEATURES_FPS": 25,
        "VTN.BACKBONE.NAME": "precomputed", "VTN.BACKBONE.ARGS": "{'feature_dim': 24}",
        "VTN.BACKBONE.TOKENS": "[2, 2]", "VTN.BACKBONE.PRETRAINED": False, "MODEL.NUM_CLASSES": 2,
        "VTN.PROBE.HIDDEN_DIM": 16, "VTN.PROBE.NUM_BLOCKS": 2, "VTN.PROBE.NUM_HEADS": 2,
        "VTN.PROBE.DROPOUT": 0.0, "VTN.BACKBONE.FROZEN": False, "DATA.NUM_FRAMES": 12,
        "DATA.SAMPLING_RATE": 1, "TRAIN.CHECKPOINT_PERIOD": 30,
        "TRAIN.EVAL_FULL_VIDEO": False, "NUM_GPUS": 0, "DATA_LOADER.NUM_WORKERS": 0, "TRAIN.BATCH_SIZE": 8,
        "SOLVER.MAX_EPOCH": 30, "SOLVER.BASE_LR": 0.01, "TRAIN.EVAL_PERIOD": 30,
    }  # fmt: skip
    overrides = [str(part) for pair in settings.items() for part in pair]
    assert run(load_config("PRETRAINED_DEMO_PROBE", overrides)) == 0
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["top1_acc"] == 100
    (checkpoint,) = (tmp_path / "run/checkpoints").glob("*.pyth")
    published = publish(checkpoint, tmp_path / "published", name="ramp")
    assert published.folder is not None
    model = create_model(published.folder)
    assert isinstance(model, AttentiveProbe)
    features = torch.from_numpy(np.stack([np.load(tmp_path / name) for name in names]))
    assert model.classify(features).argmax(1).tolist() == [0, 1] * 8
    assert model.classify(features.flip(1)).argmax(1).tolist() == [1, 0] * 8
    from_file = create_model("PRETRAINED_DEMO_PROBE", published.checkpoint, overrides=overrides)
    assert torch.equal(from_file.classify(features), model.classify(features))


def test_a_folder_as_a_start_for_other_classes(tmp_path: Path) -> None:
    model = tiny_probe()
    model.save_pretrained(tmp_path)
    started = AttentiveProbe.from_pretrained(tmp_path, num_classes=CLASSES + 2, reset_head=True)
    assert started.classify(random_features()).shape == (2, CLASSES + 2)
    assert torch.equal(started.pooler.query, model.pooler.query)
    assert json.loads((tmp_path / "config.json").read_text())["probe"] == vars(model.arguments.probe)
    assert model.arguments.backbone.args == TINY["backbone_args"]
