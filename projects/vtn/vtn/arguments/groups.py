"""Groups of arguments for the parts of the network behind the backbone, one frozen dataclass each.

A field is declared with the configuration key that it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from typing import Any, ClassVar, Self

from fvcore.common.config import CfgNode

from slowfast.config.values import value_of
from slowfast.errors import ModelError
from vtn.config import REQUIREMENTS, attention_windows
from vtn.config.requirements import width_problems, window_problems, windows_of


def setting(default: Any, key: str) -> Any:
    """Returns a field of a group that stands for a key, and whose values meet the requirement on the key."""
    return field(default=default, metadata={"key": key})


@dataclass(frozen=True)
class Settings:
    """A group of arguments.

    Attributes:
        group: name of the group, for messages.

    Raises:
        ModelError: for a value that the field's key may not have, except the default None.
    """

    group: ClassVar[str]

    def __post_init__(self) -> None:
        for item in fields(self):
            requirement, value = REQUIREMENTS.get(item.metadata.get("key", "")), getattr(self, item.name)
            is_left_out = value is None and item.default is None
            if requirement is not None and not is_left_out:
                _refuse(*requirement.problems(f"{self.group}.{item.name}", value))
            if item.type == "int" and (isinstance(value, bool) or not isinstance(value, Integral)):
                raise ModelError(f"{self.group}.{item.name} = {value!r}: must be a whole number")
            if item.type == "bool" and value not in (True, False, None):  # the text "False" counts as True
                raise ModelError(f"{self.group}.{item.name} = {value!r}: must be True or False")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that the keys of a configuration describe."""
        return cls(
            **{item.name: value_of(cfg, item.metadata["key"]) for item in fields(cls) if item.metadata}
        )


@dataclass(frozen=True)
class FusionConfig(Settings):
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

    group = "fusion"
    kind: str = setting("concat", "VTN.FUSION")
    dim: int = setting(0, "VTN.FUSION_DIM")
    queries: int = setting(4, "VTN.FUSION_QUERIES")


@dataclass(frozen=True)
class InputConfig(Settings):
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

    group = "input"
    standardize: bool = setting(False, "VTN.INPUT.STANDARDIZE")
    differences: bool = setting(False, "VTN.INPUT.DIFFERENCES")
    dropout: float = setting(0.0, "VTN.INPUT.DROPOUT")


@dataclass(frozen=True)
class EncoderConfig(Settings):
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
        ModelError: for a value outside these ranges. Sizes that do not fit together are refused by
            :meth:`check_sizes`, before a model is built.
    """

    group = "encoder"
    hidden_dim: int = setting(768, "VTN.LONGFORMER.HIDDEN_DIM")
    num_layers: int = setting(3, "VTN.LONGFORMER.NUM_HIDDEN_LAYERS")
    num_heads: int = setting(12, "VTN.LONGFORMER.NUM_ATTENTION_HEADS")
    intermediate_size: int = setting(3072, "VTN.LONGFORMER.INTERMEDIATE_SIZE")
    attention_window: int | Sequence[int] = 18
    position: str = setting("learned", "VTN.LONGFORMER.POSITION")
    max_position_embeddings: int = setting(288, "VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS")
    position_rate: float | None = setting(None, "VTN.LONGFORMER.POSITION_RATE")
    checkpoint: str = setting("", "VTN.LONGFORMER.CHECKPOINT")
    hidden_dropout: float = setting(0.1, "VTN.LONGFORMER.HIDDEN_DROPOUT_PROB")
    attention_dropout: float = setting(0.1, "VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB")
    adapt_positions: bool = setting(False, "VTN.LONGFORMER.ADAPT_POSITIONS")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """Returns the group that ``VTN.LONGFORMER`` of a configuration describes."""
        group, node, windows = super().from_config(cfg), cfg.VTN.LONGFORMER, attention_windows(cfg)
        return replace(
            group,
            # One number for equal windows, so that a caller can change the number of layers alone.
            attention_window=windows[0] if len(set(windows)) == 1 else windows,
            position_rate=group.position_rate if node.POSITION_UNIT == "second" else None,
        )

    @property
    def layer_windows(self) -> list[int]:
        """One attention window per layer."""
        return windows_of(self.attention_window, self.num_layers)

    def check_sizes(self) -> None:
        """Checks the sizes together, once no field is changed any more.

        Raises:
            ModelError: for heads or windows that do not fit the width or the number of layers.
        """
        widths = ("encoder.hidden_dim", "encoder.num_heads", "encoder.position")
        windows = ("encoder.attention_window", "encoder.num_layers")
        _refuse(
            *width_problems(widths, self.hidden_dim, self.num_heads, self.position),
            *window_problems(windows, self.attention_window, self.num_layers),
        )


@dataclass(frozen=True)
class HeadConfig(Settings):
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

    group = "head"
    mlp_dim: int = setting(768, "VTN.HEAD.MLP_DIM")
    dropout: float = setting(0.5, "MODEL.DROPOUT_RATE")
    pooling: str = setting("cls", "VTN.HEAD.POOLING")
    skip: bool = setting(False, "VTN.HEAD.SKIP")


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
        ModelError: for a value outside these ranges. Sizes that do not fit together are refused by
            :meth:`check_sizes`, before a model is built.
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

    def check_sizes(self, feature_dim: int = 0) -> None:
        """Checks the sizes together, once no field is changed any more.

        Args:
            feature_dim: the width of the features; 0 while it is not known.

        Raises:
            ModelError: for heads that do not fit the width.
        """
        width = "probe.hidden_dim" if self.hidden_dim else "the width of the features"
        names = (width, "probe.num_heads", "probe.position")
        _refuse(*width_problems(names, self.hidden_dim or feature_dim, self.num_heads, self.position))


def _refuse(*problems: str) -> None:
    """Raises ``ModelError`` with the first of the problems, if there are any."""
    if problems:
        raise ModelError(problems[0])
