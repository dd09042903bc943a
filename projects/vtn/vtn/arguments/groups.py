"""Groups of arguments for the parts of the network behind the backbone, one frozen dataclass each.

Most fields have the name of their configuration key in lower case: ``VTN.HEAD.SKIP`` is ``HeadConfig.skip``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fvcore.common.config import CfgNode

from slowfast.errors import ModelError
from vtn.arguments.checks import check_at_least, check_position_rate, check_probabilities
from vtn.config import FUSIONS, HEAD_POOLINGS, attention_windows


@dataclass(frozen=True)
class FusionConfig:
    """The way of several tokens per frame into the model.

    One token per frame has nothing to fuse; ``concat`` with ``dim`` above 0 is a bottleneck for it.

    Attributes:
        kind: ``concat``: one linear layer F -> ``dim``, shared by the tokens, whose results stand side by
            side; ``attend``: learned queries attend to the tokens of a frame, which have learned spatial
            positions; ``sequence``: all tokens of all frames are in the encoder's sequence, with learned
            spatial positions.
        dim: width of a token after the linear layer, 0 or more. 0: for ``concat`` the encoder's width divided
            by the number of tokens, rounded; for ``attend`` the encoder's width. Unused by ``sequence``.
        queries: number of learned queries of ``attend``, 1 or more.

    Raises:
        ModelError: for a value outside these ranges.
    """

    kind: str = "concat"
    dim: int = 0
    queries: int = 4

    def __post_init__(self) -> None:
        if self.kind not in FUSIONS:
            raise ModelError(f"fusion.kind = {self.kind!r}: must be {', '.join(FUSIONS)}")
        check_at_least(0, "fusion", dim=self.dim)
        check_at_least(1, "fusion", queries=self.queries)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that ``VTN.FUSION``, ``FUSION_DIM`` and ``FUSION_QUERIES`` describe."""
        return cls(cfg.VTN.FUSION, cfg.VTN.FUSION_DIM, cfg.VTN.FUSION_QUERIES)


@dataclass(frozen=True)
class InputConfig:
    """The preparation of features for the layers behind the backbone, meant for few videos.

    Attributes:
        standardize: True maps each channel to mean 0 and deviation 1 over the training features, clipped to
            ±5. The statistics are computed when a training starts and belong to the weights.
        differences: True adds the absolute differences from the frame before as further channels.
        dropout: probability in training that a channel is set to 0 in all frames of a clip, 0 or more and
            below 1.

    Raises:
        ModelError: for a value outside this range.
    """

    standardize: bool = False
    differences: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_probabilities("input", dropout=self.dropout)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that ``VTN.INPUT`` of a configuration describes."""
        node = cfg.VTN.INPUT
        return cls(node.STANDARDIZE, node.DIFFERENCES, node.DROPOUT)


@dataclass(frozen=True)
class EncoderConfig:
    """The temporal encoder: a Longformer that collects the features of all frames in one [CLS] token.

    Attributes:
        hidden_dim: width D of its tokens, 1 or more; even for sinusoidal positions. A linear layer maps
            features of another width to it.
        num_layers: number of layers, 1 or more.
        num_heads: attention heads per layer; must divide ``hidden_dim``.
        intermediate_size: width of the hidden layer in each feed-forward block, 1 or more.
        attention_window: frames that a frame sees, half of them on each side; even, 2 or more. One number for
            all layers, or a sequence with one number per layer.
        position: ``learned`` (a table), ``sinusoidal`` (fixed, for any length) or ``none``.
        max_position_embeddings: rows of the learned table, 3 or more; positions are taken modulo this minus
            2, since [CLS] and padding have one row each.
        position_rate: None: a position is the index of the frame in its source video. A number above 0: a
            position is ``round(seconds × position_rate)``, and this is positions per second.
        checkpoint: start from this Longformer, a folder in Hugging Face's form or a file of weights, see
            :func:`vtn.encoder.longformer.start_from_longformer`; empty: random weights.
        hidden_dropout: dropout probability of embeddings and layer outputs, 0 or more and below 1.
        attention_dropout: dropout probability of attention weights, in the same range.
        adapt_positions: accept weights whose table has another number of rows: the rows of frames are cut or
            repeated, see :func:`vtn.encoder.longformer.adapt_positions`.

    Raises:
        ModelError: for a value outside these ranges. Sizes that do not fit together are reported when the
            model is built.
    """

    hidden_dim: int = 768
    num_layers: int = 3
    num_heads: int = 12
    intermediate_size: int = 3072
    attention_window: int | Sequence[int] = 18
    position: str = "learned"
    max_position_embeddings: int = 288
    position_rate: float | None = None
    checkpoint: str = ""
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    adapt_positions: bool = False

    def __post_init__(self) -> None:
        check_at_least(
            1,
            "encoder",
            hidden_dim=self.hidden_dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            intermediate_size=self.intermediate_size,
        )
        check_position_rate("encoder", self.position_rate)
        check_probabilities(
            "encoder", hidden_dropout=self.hidden_dropout, attention_dropout=self.attention_dropout
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that ``VTN.LONGFORMER`` of a configuration describes."""
        node = cfg.VTN.LONGFORMER
        windows = attention_windows(cfg)
        return cls(
            hidden_dim=node.HIDDEN_DIM,
            num_layers=node.NUM_HIDDEN_LAYERS,
            num_heads=node.NUM_ATTENTION_HEADS,
            intermediate_size=node.INTERMEDIATE_SIZE,
            # One number for equal windows, so that a caller can change the number of layers alone.
            attention_window=windows[0] if len(set(windows)) == 1 else windows,
            position=node.POSITION,
            max_position_embeddings=node.MAX_POSITION_EMBEDDINGS,
            adapt_positions=node.ADAPT_POSITIONS,
            position_rate=node.POSITION_RATE if node.POSITION_UNIT == "second" else None,
            checkpoint=node.CHECKPOINT,
            hidden_dropout=node.HIDDEN_DROPOUT_PROB,
            attention_dropout=node.ATTENTION_PROBS_DROPOUT_PROB,
        )


@dataclass(frozen=True)
class HeadConfig:
    """The classifier: LayerNorm, Linear, GELU, Dropout, Linear, from one state per clip to K logits.

    Attributes:
        mlp_dim: width of the hidden layer, 1 or more.
        dropout: dropout probability before the last layer, 0 or more and below 1.
        pooling: ``cls``: the state is the final [CLS]; ``cls+mean+std``: beside it are mean and standard
            deviation of the frames' final states.
        skip: True adds the result of a linear layer on the features' temporal statistics to the logits, see
            :class:`vtn.head.statistics_skip.StatisticsSkip`.

    Raises:
        ModelError: for a value outside these ranges.
    """

    mlp_dim: int = 768
    dropout: float = 0.5
    pooling: str = "cls"
    skip: bool = False

    def __post_init__(self) -> None:
        if self.pooling not in HEAD_POOLINGS:
            raise ModelError(f"head.pooling = {self.pooling!r}: must be {' or '.join(HEAD_POOLINGS)}")
        check_at_least(1, "head", mlp_dim=self.mlp_dim)
        check_probabilities("head", dropout=self.dropout)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that ``VTN.HEAD`` and ``MODEL.DROPOUT_RATE`` of a configuration describe."""
        head = cfg.VTN.HEAD
        return cls(head.MLP_DIM, cfg.MODEL.DROPOUT_RATE, pooling=head.POOLING, skip=head.SKIP)
