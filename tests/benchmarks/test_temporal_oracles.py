"""The baselines of the temporal benchmark give the encoder's results."""

from __future__ import annotations

import torch

from benchmarks.support.longformer import HuggingFaceEncoder, chunked_reference
from vtn.encoder.temporal_encoder import TemporalEncoder


@torch.no_grad()
def test_hugging_face_and_the_chunked_reference_equal_the_encoder() -> None:
    torch.manual_seed(0)
    encoder = TemporalEncoder(
        24, 24, 3, 3, 40, [4, 18, 4], "learned", 50, hidden_dropout=0.1, attention_dropout=0.1
    )
    for parameter in encoder.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.2)
    encoder.eval()
    features, cls = torch.randn(1, 143, 24), torch.randn(1, 1, 24)
    expected = encoder(features, cls, None, None)
    chunked = chunked_reference(encoder, features, cls, chunk=32)
    assert chunked.dtype == torch.float64
    torch.testing.assert_close(expected.double(), chunked, atol=1e-5, rtol=0)
    encoder.layers[1].half_window = 2  # Hugging Face requires windows that divide the largest one
    theirs = HuggingFaceEncoder(encoder).eval()(features, cls)
    torch.testing.assert_close(encoder(features, cls, None, None), theirs, atol=1e-5, rtol=0)
