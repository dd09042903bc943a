"""Exchange of weights with Hugging Face's Longformer, and initialization from one of another size."""

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
# Weights of Hugging Face's model that the encoder does not have, and that are not used with `inputs_embeds`.
ONLY_HUGGING_FACE = {"embeddings.word_embeddings.weight"}


def longformer_config(**changes: Any) -> LongformerConfig:
    sizes: dict[str, Any] = {
        "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "attention_window": [4, 4], "max_position_embeddings": ROWS, "pad_token_id": ROWS - 1,
        "type_vocab_size": 2, "vocab_size": ROWS, "layer_norm_eps": 1e-12,
    }  # fmt: skip
    return LongformerConfig(**{**sizes, **changes})


@torch.no_grad()
def test_weights_load_into_hugging_face_and_back_with_equal_results() -> None:
    """Names and shapes are the same, so that ``load_state_dict`` needs no conversion."""
    ours = tiny()
    theirs = LongformerModel(longformer_config(), add_pooling_layer=False).eval()
    result = theirs.load_state_dict(ours.temporal_encoder.state_dict(), strict=False)
    # The projection of features to the encoder's width is not part of a Longformer.
    assert {name for name in result.unexpected_keys if "feature_projection" not in name} == set()
    assert {name for name in result.missing_keys if "position_ids" not in name} == ONLY_HUGGING_FACE

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
    weights = {name: value for name, value in theirs.state_dict().items() if name not in ONLY_HUGGING_FACE}
    again.temporal_encoder.load_state_dict(weights, strict=False)
    torch.testing.assert_close(again.encode_video(features), ours.encode_video(features))


def test_the_encoder_starts_from_a_text_longformer(tmp_path: Path) -> None:
    """The encoder has fewer layers, a wider window, more positions; the source also has a language head."""
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
    assert torch.equal(table[:17], text[3:])  # frames get the text positions from the second on
    assert torch.equal(table[17:34], text[3:])  # … repeated after the last one
    assert torch.equal(table[-2], text[2])  # [CLS] gets the first text position
    assert (table[-1] == 0).all()
    types = own["embeddings.token_type_embeddings.weight"]
    assert torch.equal(types[0], types[1])


def test_the_encoder_starts_from_a_vtn_with_fewer_positions(tmp_path: Path) -> None:
    """The table grows from 286 to 500 positions; the window differs; [CLS] keeps its row.

    The projection is that of the source's backbone, whose features are wider, and is not copied.
    """
    source = tiny()
    projection, table = (
        f"temporal_encoder.{name}.weight" for name in ("feature_projection", "embeddings.position_embeddings")
    )
    state = {**source.state_dict(), projection: torch.zeros(WIDTH, FEATURE_DIM + 8)}
    state[table][-1] = 0  # as in every VTN; those of the tests are random
    torch.save({"model_state": state}, tmp_path / "vtn.pyth")
    model = VTN("shallow_conv", **{**TINY, "attention_window": 16, "max_position_embeddings": 502})
    before = model.state_dict()[projection].clone()
    start_from_longformer(model.temporal_encoder, tmp_path / "vtn.pyth")
    assert torch.equal(model.state_dict()[projection], before)
    new, old = (m.temporal_encoder.embeddings.position_embeddings.weight for m in (model, source))
    assert torch.equal(new[:286], old[:286])
    assert torch.equal(new[286:500], old[:214])
    assert torch.equal(new[500], old[286])
    types = [m.temporal_encoder.embeddings.token_type_embeddings.weight for m in (model, source)]
    assert torch.equal(*types)  # both rows: frames and [CLS] have types of their own


def test_of_three_token_types_the_encoder_takes_the_first_two(tmp_path: Path) -> None:
    """The folder has no ``config.json``: the number of heads is then not compared."""
    theirs = LongformerModel(longformer_config(type_vocab_size=3))
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    model = VTN("shallow_conv", **{**TINY, "encoder_checkpoint": str(tmp_path)})
    types = model.temporal_encoder.embeddings.token_type_embeddings.weight
    assert torch.equal(types, theirs.embeddings.token_type_embeddings.weight[:2])


def test_a_text_longformer_is_known_by_its_last_row_where_row_1_is_not_zero(tmp_path: Path) -> None:
    """As in tables that were made longer by the notebook of Longformer's authors, which leaves row 1 open."""
    theirs = LongformerModel(longformer_config(pad_token_id=1))
    table = theirs.embeddings.position_embeddings.weight.detach()
    table[1] = 7.0
    theirs.save_pretrained(tmp_path)
    model = VTN("shallow_conv", **{**TINY, "encoder_checkpoint": str(tmp_path)})
    own = model.temporal_encoder.embeddings.position_embeddings.weight
    assert torch.equal(own[-2], table[2])
    assert torch.equal(own[:100], table[3:103])


def test_a_smaller_position_table_has_the_first_rows() -> None:
    table = torch.arange(10.0)[:, None].expand(-1, 3).clone()
    table[-1] = 0
    assert adapt_positions(table, 5)[:, 0].tolist() == [0, 1, 2, 8, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 1, "attention_window": [4]}, "has 1 layers, the encoder 2"),
        ({"num_attention_heads": 4}, "set VTN.LONGFORMER.NUM_ATTENTION_HEADS 4"),
        ({"intermediate_size": 64}, r"intermediate\.dense\.weight is \(64, 32\), the model's \(48, 32\)"),
    ],
)
def test_a_longformer_that_does_not_fit_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    LongformerModel(longformer_config(**changes)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        start_from_longformer(tiny().temporal_encoder, tmp_path)


@pytest.mark.parametrize(
    "part", ["embeddings.position_embeddings.", "embeddings.token_type_embeddings.", "encoder.layer."]
)
def test_a_file_without_a_part_of_a_longformer_is_refused(part: str, tmp_path: Path) -> None:
    weights = {name: w for name, w in tiny().temporal_encoder.state_dict().items() if part not in name}
    torch.save(weights, tmp_path / "part.pyth")
    with pytest.raises(CheckpointError, match="contains no Longformer"):
        start_from_longformer(tiny().temporal_encoder, tmp_path / "part.pyth")


def test_a_file_or_folder_without_a_longformer_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pyth")
    with pytest.raises(CheckpointError, match=r"contains no Longformer; .* has weight"):
        start_from_longformer(tiny().temporal_encoder, tmp_path / "other.pyth")
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor"):
        start_from_longformer(tiny().temporal_encoder, tmp_path)
    (tmp_path / "model.safetensors").touch()
    for content in ("", "[]", "[" * 100_000):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json: .*; download it again"):
            start_from_longformer(tiny().temporal_encoder, tmp_path)
