"""The group of arguments of the attentive probe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from fvcore.common.config import CfgNode

from vtn.arguments.settings import Settings, setting


@dataclass(frozen=True)
class ProbeConfig(Settings):
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

    group = "probe"
    hidden_dim: int = setting(0, "VTN.PROBE.HIDDEN_DIM")
    num_blocks: int = setting(4, "VTN.PROBE.NUM_BLOCKS")
    num_heads: int = setting(16, "VTN.PROBE.NUM_HEADS")
    mlp_ratio: float = setting(4.0, "VTN.PROBE.MLP_RATIO")
    position: str = setting("sinusoidal", "VTN.PROBE.POSITION")
    position_rate: float | None = setting(None, "VTN.PROBE.POSITION_RATE")
    dropout: float = setting(0.0, "VTN.PROBE.DROPOUT")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that ``VTN.PROBE`` of a configuration describes."""
        group = super().from_config(cfg)
        return group if cfg.VTN.PROBE.POSITION_UNIT == "second" else replace(group, position_rate=None)
