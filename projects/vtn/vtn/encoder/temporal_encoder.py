"""The temporal encoder: a Longformer over frame features with [CLS] as its one global token.

The architecture is the one of VTN (Neimark et al. 2021, arXiv 2102.00719, section 3.2). The layers, their
order and the state-dict names are those of Hugging Face's ``LongformerModel`` as the original VTN used it, so
that the three implementations can exchange weights. The computation is different
(:mod:`vtn.encoder.attention`) and gives the same results:

* the last layer computes [CLS] only, since the model uses nothing else of its output;
* if gradients are disabled, a long sequence is computed in chunks of frames and in place, so that the memory
  beyond the features and one hidden sequence does not depend on the length.

Token 0 is [CLS], token 1 + t is frame t; masks are True where a token is real.

A frame may have several tokens: a fusion module makes one vector of them, or all are in the sequence, frame
by frame. The window then counts frames: a token attends to all tokens of the frames in the window.

Shapes: B clips, T frames, M tokens of a frame, F width of a feature, D width, N heads, L layers, S = T tokens
of the sequence without [CLS], or S = T · M if all tokens are in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.features.temporal_statistics import masked_mean_and_std, zero_masked
from vtn.arguments.groups import EncoderConfig
from vtn.encoder.embeddings import Embeddings
from vtn.encoder.encoder_layer import CHUNK, EncoderLayer, takes_shortcuts
from vtn.encoder.fusion import AttendTokens, ConcatTokens

_POOLINGS = {"cls": 1, "cls+mean+std": 3}
"""Name of a pooling -> width of its result in multiples of D."""


class TemporalEncoder(nn.Module):
    """A Longformer that maps frame features and a [CLS] token to the final state of [CLS].

    Args:
        feature_dim: F; if it differs from D, a linear layer projects features to D.
        config: D, L, N, windows, positions and dropout.
        fusion: maps the tokens of frames (B, T, M, F) to vectors (B, T, ``fusion.width``); None: the sequence
            has the tokens themselves.
        tokens_per_frame: M, tokens of a frame in the sequence; 1: features are (B, T, F).
        pooling: of the final states, ``cls`` or ``cls+mean+std``.
        takes_zeros: whether masked features are 0 already, so that the encoder need not set them to 0.

    Attributes:
        state_dim: width of the result, D or 3 · D.

    Raises:
        ModelError: for sizes that do not fit together.
    """

    def __init__(
        self,
        feature_dim: int,
        config: EncoderConfig,
        fusion: ConcatTokens | AttendTokens | None = None,
        tokens_per_frame: int = 1,
        pooling: str = "cls",
        takes_zeros: bool = False,
    ) -> None:
        super().__init__()
        config.check_sizes()
        hidden_dim = config.hidden_dim
        self.fusion = fusion
        self.tokens_per_frame = tokens_per_frame
        self.pooling = pooling
        self._takes_zeros = takes_zeros
        self.state_dim = _POOLINGS[pooling] * hidden_dim
        if fusion is not None:
            feature_dim = fusion.width
        is_fitting = feature_dim == hidden_dim
        self.feature_projection = nn.Identity() if is_fitting else nn.Linear(feature_dim, hidden_dim)
        self.embeddings = Embeddings(config)
        layers = (EncoderLayer(config, window, tokens_per_frame) for window in config.layer_windows)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.spatial_positions: nn.Parameter | None = None
        if tokens_per_frame > 1:
            self.spatial_positions = nn.Parameter(torch.randn(tokens_per_frame, hidden_dim) * 0.02)
        self.apply(_initialize)

    def scale_projection(self) -> None:
        """Initialises the projection so that standardised features of any width have deviation 1 after it.

        BERT's deviation of 0.02 does the same for a width of 2,500; a few channels would vanish beside
        positions.
        """
        if isinstance(projection := self.feature_projection, nn.Linear):
            nn.init.normal_(projection.weight, std=projection.in_features**-0.5)

    @property
    def layers(self) -> list[EncoderLayer]:
        """The L layers in order."""
        return list(self.encoder["layer"])

    def forward(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) at positions (B, T) to the final state of [CLS], (B, D).

        With the pooling ``cls+mean+std`` mean and standard deviation of the real frames' states stand beside
        it, (B, 3 · D).

        Args:
            features: any floating-point dtype.
            cls_token: (1, 1, D).
            positions: integers; None means 0 … T − 1.
            mask: (B, T) bool, True where a frame is real; None means all frames are real.
        """
        B, S = features.shape[0], features.shape[1] * self.tokens_per_frame
        # Without gradients, a large batch is computed in groups of clips with about CHUNK tokens in total.
        if not takes_shortcuts() or B * S <= CHUNK or B == 1:
            return self._final_state(features, cls_token, positions, mask)
        rows = max(1, CHUNK // S)
        states = [
            self._final_state(
                features[start : start + rows],
                cls_token,
                None if positions is None else positions[start : start + rows],
                None if mask is None else mask[start : start + rows],
            )
            for start in range(0, B, rows)
        ]
        return torch.cat(states)

    def _final_state(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Computes what :meth:`forward` returns, for all clips at once."""
        for layer, tokens in self.walk(features, cls_token, positions, mask):
            last, last_tokens = layer, tokens
        token_mask = self.token_mask(mask)
        if self.pooling == "cls":
            return last.cls_state(last_tokens, token_mask)
        states = last(last_tokens, token_mask)
        of_frames = None if token_mask is None else token_mask[:, 1:]
        return torch.cat([states[:, 0], *masked_mean_and_std(states[:, 1:], of_frames)], dim=1)

    def pack(self, dtype: torch.dtype) -> None:
        """Packs the weights of the layers for inference in ``dtype``, see :meth:`EncoderLayer.pack`."""
        for layer in self.layers[:-1]:
            layer.pack(dtype)
        # For [CLS] alone the last layer computes one row for each clip; packing makes that faster only with
        # a smaller dtype.
        if self.pooling != "cls" or dtype != self.embeddings.LayerNorm.weight.dtype:
            self.layers[-1].pack(dtype)

    def frame_attention(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Returns the attention weights (L, B, N, T) of [CLS] for the frames in each layer.

        With several tokens per frame in the sequence they are (L, B, N, T, M).

        The weights of a head sum to 1 together with the weight of [CLS] for itself, which is left out.
        Arguments as in :meth:`forward`.
        """
        weights = [
            layer.cls_attention(tokens, self.token_mask(mask))[1][..., 1:]
            for layer, tokens in self.walk(features, cls_token, positions, mask)
        ]
        stacked = torch.stack(weights)
        M = self.tokens_per_frame
        return stacked if M == 1 else stacked.unflatten(-1, (-1, M))

    def walk(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Iterator[tuple[EncoderLayer, Tensor]]:
        """Yields each layer with its input tokens (B, 1 + S, D); the next iteration may overwrite them."""
        tokens = self.embed(features, cls_token, positions, mask)
        token_mask = self.token_mask(mask)
        for index, layer in enumerate(self.layers):
            if index > 0:
                tokens = self.layers[index - 1](tokens, token_mask)
            yield layer, tokens

    def embed(
        self, features: Tensor, cls_token: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Maps features of any floating-point dtype to the first layer's tokens (B, 1 + S, D).

        Args:
            features: (B, T, F) or (B, T, M, F).
        """
        (B, T), M = features.shape[:2], self.tokens_per_frame
        cls = self.embeddings.cls(cls_token).expand(B, -1, -1)
        chunk = max(1, CHUNK // M)
        if not takes_shortcuts() or chunk >= T:
            return torch.cat([cls, self._embed_frames(features, 0, T, positions, mask)], dim=1)
        tokens = cls.new_empty(B, 1 + T * M, cls.shape[-1])
        tokens[:, :1] = cls
        for start in range(0, T, chunk):
            stop = min(start + chunk, T)
            frames = self._embed_frames(features, start, stop, positions, mask)
            tokens[:, 1 + start * M : 1 + stop * M] = frames
        return tokens

    def _embed_frames(
        self, features: Tensor, start: int, stop: int, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Returns the tokens (B, (stop − start) · M, D) of the frames from ``start`` to before ``stop``."""
        features = features[:, start:stop].to(self.embeddings.LayerNorm.weight)
        if mask is not None and not self._takes_zeros:
            features = zero_masked(features, mask[:, start:stop])  # attention weight 0 times NaN is NaN
        if self.fusion is not None:
            features = self.fusion(features)
        features = self.feature_projection(features)
        if positions is None:
            frame_positions = torch.arange(start, stop, device=features.device)
        else:
            frame_positions = positions[:, start:stop].long()
        return self.embeddings.frames(features, frame_positions, self.spatial_positions)

    def token_mask(self, mask: Tensor | None) -> Tensor | None:
        """Returns the mask of all tokens (B, 1 + S), where [CLS] is real, from that of the frames (B, T)."""
        if mask is not None and self.tokens_per_frame > 1:
            mask = mask.repeat_interleave(self.tokens_per_frame, dim=1)
        return None if mask is None else F.pad(mask, (1, 0), value=True)


def _initialize(module: nn.Module) -> None:
    """Initializes a module as BERT does: N(0, 0.02²) for weights, 0 for biases and the padding row."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
