"""The attentive pooler of V-JEPA 2's frozen evaluation (Assran et al. 2025, arXiv 2506.09985): blocks of full
attention over all tokens of a video, then a learned query that collects them.

Of the paper's four transformer blocks three are self-attention blocks, and the last one is a cross-attention
block with one learned query. As in the published probes, the blocks normalise their input (pre-norm), the
query is not normalised, and cross-attention has no output projection.

Each token of a video attends to all others, so that the time grows with the square of their number. Memory
does not, where ``torch.nn.functional.scaled_dot_product_attention`` has a kernel without a matrix of scores.

Shapes: B clips, T frames, M tokens of a frame, F width of a token, D width, N heads, S = T · M tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.features.temporal_statistics import zero_masked
from vtn.arguments.groups import ProbeConfig
from vtn.encoder.embeddings import build_positions

NORM_EPSILON = 1e-6
_INITIAL_STD = 0.02


class AttentivePooler(nn.Module):
    """A network that maps the tokens of a video to one state.

    Args:
        feature_dim: F; if it differs from D, a linear layer projects tokens to D.
        config: D, N, blocks, positions and dropout. With the position ``none`` the result does not depend on
            the order of the tokens.
        num_tokens: M.

    Attributes:
        width: D.

    Raises:
        ModelError: for sizes that do not fit together.
    """

    def __init__(self, feature_dim: int, config: ProbeConfig, num_tokens: int = 1) -> None:
        super().__init__()
        config.check_sizes(feature_dim)
        self.width = width = config.hidden_dim or feature_dim
        self.projection = nn.Identity() if feature_dim == width else nn.Linear(feature_dim, width)
        self.positions = build_positions(config.position, 0, width)
        self.spatial_positions: nn.Parameter | None = None
        if num_tokens > 1 and config.position != "none":
            self.spatial_positions = nn.Parameter(torch.randn(num_tokens, width) * _INITIAL_STD)
        self.blocks = nn.ModuleList(SelfAttentionBlock(width, config) for _ in range(config.num_blocks - 1))
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.query_block = CrossAttentionBlock(width, config)
        self._initialize()

    def forward(self, features: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
        """Maps features (B, T, F) or (B, T, M, F) at positions (B, T) to the state of the query (B, D).

        Args:
            features: any floating-point dtype.
            positions: integers; None means 0 … T − 1.
            mask: (B, T) bool, True where a frame is real; None means all frames are real.
        """
        tokens, token_mask = self.embed(features, positions, mask)
        for block in self.blocks:
            tokens = block(tokens, token_mask)
        return self.query_block(self.query, tokens, token_mask)[:, 0]

    def embed(
        self, features: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Maps features to the first block's tokens (B, S, D) and their mask (B, 1, 1, S)."""
        features = features.to(self.query.dtype)
        if features.ndim == 3:
            features = features[:, :, None]  # (B, T, M, F)
        features = zero_masked(features, mask)  # attention weight 0 times NaN is NaN
        T, M = features.shape[1:3]
        tokens = self.projection(features)
        if positions is None:
            positions = torch.arange(T, device=features.device)
        rows = self.positions.frames(positions.long())
        if isinstance(rows, Tensor):
            tokens = tokens + rows.to(tokens.dtype)[..., None, :]  # (B or none, T, 1, D)
        if self.spatial_positions is not None:
            tokens = tokens + self.spatial_positions
        token_mask = None if mask is None else mask.repeat_interleave(M, dim=1)[:, None, None, :]
        return tokens.flatten(1, 2), token_mask

    def _initialize(self) -> None:
        """Sets weights to a truncated N(0, 0.02²), biases to 0.

        The layers that add to the residual stream are divided by sqrt(2 · number of the block), so that its
        variance does not grow with the depth.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INITIAL_STD)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.query, std=_INITIAL_STD)
        with torch.no_grad():
            for number, block in enumerate(self.blocks, start=1):
                block.attention.output.weight.div_((2 * number) ** 0.5)
                block.mlp.output.weight.div_((2 * number) ** 0.5)
            self.query_block.mlp.output.weight.div_((2 * (len(self.blocks) + 1)) ** 0.5)


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to all tokens (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Maps tokens (B, S, D) to (B, S, D)."""
        queries, keys, values = self.query_key_value(tokens).chunk(3, dim=-1)
        return self.output(_attend(queries, keys, values, self.num_heads, mask))


class CrossAttention(nn.Module):
    """Multi-head attention of queries to tokens, without a projection of the result."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)

    def forward(self, queries: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Maps queries (1, Q, D), the same for all clips, and tokens (B, S, D) to (B, Q, D)."""
        keys, values = self.key_value(tokens).chunk(2, dim=-1)
        queries = self.query(queries).expand(tokens.shape[0], -1, -1)
        return _attend(queries, keys, values, self.num_heads, mask)


class MLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        return self.output(F.gelu(self.hidden(x)))


class _Block(nn.Module):
    """The modules of a transformer block, in the names and the order of the published probes."""

    attention_type: type[SelfAttention | CrossAttention]

    def __init__(self, width: int, config: ProbeConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.attention = self.attention_type(width, config.num_heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.mlp = MLP(width, round(width * config.mlp_ratio))
        self.dropout = nn.Dropout(config.dropout)


class SelfAttentionBlock(_Block):
    """A pre-norm transformer block: ``x + attention(norm(x))``, then ``x + MLP(norm(x))``."""

    attention_type = SelfAttention

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Maps tokens (B, S, D) to tokens (B, S, D); ``mask`` (B, 1, 1, S) is True where a token is real."""
        tokens = tokens + self.dropout(self.attention(self.norm1(tokens), mask))
        return tokens + self.dropout(self.mlp(self.norm2(tokens)))


class CrossAttentionBlock(_Block):
    """A transformer block in which queries attend to tokens; only the tokens are normalised before it."""

    attention_type = CrossAttention

    def forward(self, queries: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Maps queries (1, Q, D) to their states (B, Q, D) after attention to tokens (B, S, D)."""
        queries = queries + self.dropout(self.attention(queries, self.norm1(tokens), mask))
        return queries + self.dropout(self.mlp(self.norm2(queries)))


def _attend(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, mask: Tensor | None) -> Tensor:
    """Returns the attention (B, Q, D) of queries (B, Q, D) to keys and values (B, S, D)."""
    heads = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)
