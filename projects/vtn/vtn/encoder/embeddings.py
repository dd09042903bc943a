"""The tokens of the temporal encoder: features and [CLS] with their positions.

Shapes: B clips, T frames, M tokens of a frame, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from vtn.arguments.groups import EncoderConfig
from vtn.encoder.encoder_layer import NORM_EPSILON
from vtn.encoder.positions import build_positions


class Embeddings(nn.Module):
    """The token embeddings: position and token type (1 for [CLS], 0 for frames) are added, then LayerNorm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.position_embeddings = build_positions(config.position, config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(config.hidden_dropout)
        # Some versions of transformers also store the row numbers of the position table.
        self.register_load_state_dict_pre_hook(_drop_position_ids)

    def frames(self, features: Tensor, positions: Tensor, spatial: Tensor | None = None) -> Tensor:
        """Maps features (B, T, D) at positions (B, T) to frame tokens (B, T, D).

        Features (B, T, M, D) with spatial positions (M, D) become the tokens (B, T · M, D).
        """
        rows = self.position_embeddings.frames(positions)
        if spatial is not None:
            rows = rows[..., None, :] + spatial if isinstance(rows, Tensor) else rows + spatial
            return self._add_type_and_normalize((features + rows).flatten(1, 2), token_type=0)
        return self._add_type_and_normalize(features + rows, token_type=0)

    def cls(self, cls_token: Tensor) -> Tensor:
        """Maps the learned [CLS] token (B, 1, D) to token 0 of the sequence (B, 1, D)."""
        return self._add_type_and_normalize(cls_token + self.position_embeddings.cls(), token_type=1)

    def _add_type_and_normalize(self, x: Tensor, token_type: int) -> Tensor:
        weight = self.token_type_embeddings.weight[token_type]
        return self.dropout(self.LayerNorm((x + weight).to(weight.dtype)))


def _drop_position_ids(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    state_dict.pop(prefix + "position_ids", None)
