"""Weights pass between our encoder and Hugging Face's Longformer, and start from one of other sizes.

B clips, T frames, D width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LongformerConfig, LongformerForMaskedLM, LongformerModel

from slowfast.errors import CheckpointError
from tests.support.tiny_models import FEATURE_DIM, TINY, tiny
from vtn import VTN
from vtn.encoder.longformer import adapt_positions, start_from_longformer

WIDTH, ROWS = TINY["hidden_dim"], 288
# What Hugging Face's model has beside the encoder, and never uses with `inputs_embeds`.
BESIDE = {"embeddings.word_embeddings.weight"}


def longformer_config(**changes: Any) -> LongformerConfig:
    sizes: dict[str, Any] = {
        "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "attention_window": [4, 4], "max_position_embeddings": ROWS, "pad_token_id": ROWS - 1,
        "type_vocab_size": 2, "vocab_size": ROWS, "layer_norm_eps": 1e-12,
    }  # fmt: skip
    return LongformerConfig(**{**sizes, **changes})


@torch.no_grad()
def test_to_hugging_face_and_back() -> None:
    """Names and shapes are the same, so ``load_state_dict`` is all it takes; and so is the result."""
    ours = tiny()
    theirs = LongformerModel(longformer_config(), add_pooling_layer=False).eval()
    result = theirs.load_state_dict(ours.temporal_encoder.state_dict(), strict=False)
    # The projection joins our backbone's width to the encoder's.
    assert {name for name in result.unexpected_keys if "feature_projection" not in name} == set()
    assert {name for name in result.missing_keys if "position_ids" not in name} == BESIDE

    features = torch.randn(1, 9, FEATURE_DIM)
    tokens = torch.cat([ours.cls_token, ours.temporal_encoder.feature_projection(features)], dim=1)
    types = torch.tensor([[1] + [0] * 9])
    state = theirs(
        inputs_embeds=tokens,
        position_ids=torch.tensor([[ROWS - 2, *range(9)]]),
        token_type_ids=types,
        attention_mask=torch.ones_like(types),
        global_attention_mask=types,
    ).last_hidden_state[:, 0]
    torch.testing.assert_close(state, ours.encode_video(features), atol=1e-5, rtol=0)

    again = VTN("shallow_conv", **TINY).eval()
    again.load_state_dict(ours.state_dict())
    for parameter in again.temporal_encoder.encoder.parameters():
        parameter.zero_()
    weights = {name: value for name, value in theirs.state_dict().items() if name not in BESIDE}
    again.temporal_encoder.load_state_dict(weights, strict=False)
    torch.testing.assert_close(again.encode_video(features), ours.encode_video(features))


def test_a_longformer_of_text_is_a_start(tmp_path: Path) -> None:
    """Fewer layers, a wider window and more positions than it has; a language head beside it."""
    config = longformer_config(
        num_hidden_layers=3, attention_window=[4] * 3, max_position_embeddings=20, pad_token_id=1,
        type_vocab_size=1, vocab_size=11,
    )  # fmt: skip
    theirs = LongformerForMaskedLM(config)
    theirs.save_pretrained(tmp_path)
    model = VTN("shallow_conv", **{**TINY, "attention_window": 8, "encoder_checkpoint": str(tmp_path)})
    source = theirs.state_dict()
    own = model.temporal_encoder.state_dict()
    for name, value in own.items():
        if name.startswith("encoder.layer."):
            assert torch.equal(value, source[f"longformer.{name}"]), name
    table, text = (
        own["embeddings.position_embeddings.weight"],
        source["longformer.embeddings.position_embeddings.weight"],
    )
    assert torch.equal(table[:17], text[3:])  # frames have the second position of text and those after it
    assert torch.equal(table[17:34], text[3:])  # … and then again
    assert torch.equal(table[-2], text[2])  # [CLS] has the first
    assert (table[-1] == 0).all()
    types = own["embeddings.token_type_embeddings.weight"]
    assert torch.equal(types[0], types[1])


def test_a_vtn_of_other_positions_is_a_start(tmp_path: Path) -> None:
    """From 286 positions to 500, with another window; [CLS] keeps its row."""
    source = tiny()
    torch.save({"model_state": source.state_dict()}, tmp_path / "vtn.pyth")
    model = VTN("shallow_conv", **{**TINY, "attention_window": 16, "max_position_embeddings": 502})
    start_from_longformer(model.temporal_encoder, tmp_path / "vtn.pyth")
    new, old = (m.temporal_encoder.embeddings.position_embeddings.weight for m in (model, source))
    assert torch.equal(new[:286], old[:286])
    assert torch.equal(new[286:500], old[:214])
    assert torch.equal(new[500], old[286])


def test_fewer_positions_are_the_first_ones() -> None:
    table = torch.arange(10.0)[:, None].expand(-1, 3).clone()
    table[-1] = 0
    assert adapt_positions(table, 5)[:, 0].tolist() == [0, 1, 2, 8, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1, "attention_window": [4]}, "has 1 layers and the encoder 2"),
        ({"num_attention_heads": 4}, "set VTN.LONGFORMER.NUM_ATTENTION_HEADS 4"),
        ({"intermediate_size": 64}, r"intermediate\.dense\.weight is \(64, 32\), the model's \(48, 32\)"),
    ],
)
def test_what_does_not_suit_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    LongformerModel(longformer_config(**changes)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        start_from_longformer(tiny().temporal_encoder, tmp_path)


def test_what_is_no_longformer_is_said(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pyth")
    with pytest.raises(CheckpointError, match=r"holds no Longformer; its weights are weight"):
        start_from_longformer(tiny().temporal_encoder, tmp_path / "other.pyth")
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor"):
        start_from_longformer(tiny().temporal_encoder, tmp_path)
