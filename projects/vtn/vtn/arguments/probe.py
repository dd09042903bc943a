"""The group of arguments of the attentive probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fvcore.common.config import CfgNode

from slowfast.errors import ModelError
from vtn.arguments.checks import check_at_least, check_position_rate, check_probabilities
from vtn.config import PROBE_POSITIONS


@dataclass(frozen=True)
class ProbeConfig:
    """The attentive probe: self-attention blocks over all tokens, then a block with a learned query.

    Attributes:
        hidden_dim: width D of its tokens, 0 or more; even for sinusoidal positions. 0: the width of the
            features, as in the published probes. A linear layer maps features of another width to it.
        num_blocks: number of blocks, 1 or more; the last one is the query's, so that 1 is a probe without
            self-attention.
        num_heads: attention heads per block; must divide the width.
        mlp_ratio: width of the hidden layer in each MLP as a multiple of D, above 0.
        position: ``sinusoidal``: fixed sines and cosines of the frame's position, for any length, and for
            several tokens per frame learned spatial positions; ``none``: for features that carry their own.
        position_rate: None: a position is the index of the frame in its source video. A number above 0: a
            position is ``round(seconds × position_rate)``, and this is positions per second.
        dropout: dropout probability of what each block adds, 0 or more and below 1; the published probes have
            no dropout.

    Raises:
        ModelError: for a value outside these ranges. Sizes that do not fit together are reported when the
            model is built.
    """

    hidden_dim: int = 0
    num_blocks: int = 4
    num_heads: int = 16
    mlp_ratio: float = 4.0
    position: str = "sinusoidal"
    position_rate: float | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_at_least(0, "probe", hidden_dim=self.hidden_dim)
        check_at_least(1, "probe", num_blocks=self.num_blocks, num_heads=self.num_heads)
        if not self.mlp_ratio > 0:
            raise ModelError(f"probe.mlp_ratio = {self.mlp_ratio}: must be above 0")
        if self.position not in PROBE_POSITIONS:
            raise ModelError(f"probe.position = {self.position!r}: must be {' or '.join(PROBE_POSITIONS)}")
        check_position_rate("probe", self.position_rate)
        check_probabilities("probe", dropout=self.dropout)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that ``VTN.PROBE`` of a configuration describes."""
        node = cfg.VTN.PROBE
        return cls(
            hidden_dim=node.HIDDEN_DIM,
            num_blocks=node.NUM_BLOCKS,
            num_heads=node.NUM_HEADS,
            mlp_ratio=node.MLP_RATIO,
            position=node.POSITION,
            position_rate=node.POSITION_RATE if node.POSITION_UNIT == "second" else None,
            dropout=node.DROPOUT,
        )
