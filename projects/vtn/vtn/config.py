"""The config keys of VTN, their names in the original code, and their checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode

BACKBONE_OF_ARCH: Mapping[str, str] = MappingProxyType(
    {
        "VIT": "vit_base_patch16_224",
        "VIT_B": "vit_base_patch16_224",
        "DEIT_B": "deit_base_patch16_224",
        "DEIT_TI": "deit_tiny_patch16_224",
        "R50": "resnet50",
        "R101": "resnet101",
    }
)
"""``MODEL.ARCH``, in any letter case, -> the backbone that it means where ``VTN.BACKBONE.NAME`` is empty."""

POSITIONS = ("learned", "sinusoidal", "none")
POSITION_UNITS = ("frame", "second")
PROBE_POSITIONS = ("sinusoidal", "none")
# Pooling of many features into one: the class token, the mean, or a learned attention (MAP head).
POOLINGS = ("cls", "mean", "map")
FROZEN_DTYPES = ("bfloat16", "float16")
# The ways of several tokens per frame into the encoder, see vtn/encoder/fusion.py.
FUSIONS = ("concat", "attend", "sequence")
# The states that the head classifies, see vtn/encoder/pooling.py.
HEAD_POOLINGS = ("cls", "cls+mean+std")
MODEL_NAMES = ("VTN", "FrameAverage", "AttentiveProbe")

# The original code has all keys directly under VTN; each is an alias of a key here.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        **{f"VTN.{name}": f"VTN.BACKBONE.{name}" for name in ("PRETRAINED", "DROP_RATE", "DROP_PATH_RATE")},
        **{
            f"VTN.{name}": f"VTN.LONGFORMER.{name}"
            for name in (
                "HIDDEN_DIM",
                "NUM_HIDDEN_LAYERS",
                "NUM_ATTENTION_HEADS",
                "INTERMEDIATE_SIZE",
                "ATTENTION_WINDOW",
                "MAX_POSITION_EMBEDDINGS",
                "ATTENTION_PROBS_DROPOUT_PROB",
                "HIDDEN_DROPOUT_PROB",
            )
        },
        "VTN.MLP_DIM": "VTN.HEAD.MLP_DIM",
    }
)

OBSOLETE = ("VTN.ATTENTION_MODE", "VTN.PAD_TOKEN_ID")
"""Keys of the original code without a meaning here: padding is masked, and there is a single attention."""

ADJUSTABLE = (
    "VTN.BACKBONE.PRETRAINED",
    "VTN.BACKBONE.CHECKPOINT",
    "VTN.BACKBONE.DROP_",
    "VTN.BACKBONE.CHUNK_FRAMES",
    "VTN.BACKBONE.ACT_CHECKPOINT",
    "VTN.LONGFORMER.ADAPT_POSITIONS",
    "VTN.LONGFORMER.CHECKPOINT",
    "VTN.LONGFORMER.HIDDEN_DROPOUT_PROB",
    "VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB",
    "VTN.PROBE.DROPOUT",
)
"""Keys that may change when a run is resumed, since the model remains the same."""


def add_vtn_config(cfg: CfgNode) -> None:
    """Adds the ``VTN`` section to a configuration, in place."""
    from fvcore.common.config import CfgNode

    cfg.VTN = CfgNode()

    cfg.VTN.BACKBONE = CfgNode()
    # A name in BACKBONE_REGISTRY, a timm model, hf:NAME or hf:FOLDER, torchvision:NAME, detectron2:CONFIG,
    # pytorchvideo:NAME; empty: the backbone of MODEL.ARCH (VIT, DEIT_B, DEIT_TI, R50, R101).
    cfg.VTN.BACKBONE.NAME = ""
    # Start from the weights that the backbone's library publishes; they are downloaded.
    cfg.VTN.BACKBONE.PRETRAINED = True
    # Start from the weights in this file instead; it may contain a full model.
    cfg.VTN.BACKBONE.CHECKPOINT = ""
    # Pooling, where the backbone has a choice: cls, mean, map; empty: the choice of its authors.
    cfg.VTN.BACKBONE.POOLING = ""
    # Rows and columns of a grid of tokens per frame, averaged from the feature map; [1, 1]: a pooled vector.
    cfg.VTN.BACKBONE.TOKENS = [1, 1]
    # Use the class token of a transformer beside the grid.
    cfg.VTN.BACKBONE.CLASS_TOKEN = False
    # Use the feature map after this stage or block, counted from 1; 0: the last one.
    cfg.VTN.BACKBONE.STAGE = 0
    # Keep the backbone in evaluation mode and compute no gradients for it.
    cfg.VTN.BACKBONE.FROZEN = False
    # Freeze only the backbone's stem and this number of its first blocks; 0: none.
    cfg.VTN.BACKBONE.FROZEN_BLOCKS = 0
    # Train the normalisation layers of the frozen parts; batch norms keep their statistics.
    cfg.VTN.BACKBONE.LEARNING_NORMS = False
    # Dtype in which frozen parts compute: bfloat16, float16; empty: the dtype of the other parts.
    cfg.VTN.BACKBONE.FROZEN_DTYPE = ""
    # LoRA (needs the extra "lora"): only small matrices beside the backbone's linear layers are trained.
    cfg.VTN.BACKBONE.LORA = CfgNode()
    # Rank of the matrices; 0: no LoRA. Their output is scaled by ALPHA / RANK.
    cfg.VTN.BACKBONE.LORA.RANK = 0
    cfg.VTN.BACKBONE.LORA.ALPHA = 16.0
    cfg.VTN.BACKBONE.LORA.DROPOUT = 0.0
    # Last parts of the names of the adapted layers, such as [qkv, proj]; empty: all linear layers.
    cfg.VTN.BACKBONE.LORA.TARGETS = ()
    # Keyword arguments that are passed to the backbone unchanged.
    cfg.VTN.BACKBONE.ARGS = CfgNode(new_allowed=True)
    # Dropout and stochastic depth of the backbone.
    cfg.VTN.BACKBONE.DROP_RATE = 0.0
    cfg.VTN.BACKBONE.DROP_PATH_RATE = 0.0
    # Frames per pass through the backbone; 0: all frames of a batch.
    cfg.VTN.BACKBONE.CHUNK_FRAMES = 0
    # Clip encoders: frames per clip, and frames from the start of a clip to the start of the next one; 0: as
    # in their training, and clips one after another.
    cfg.VTN.BACKBONE.CLIP_FRAMES = 0
    cfg.VTN.BACKBONE.CLIP_STRIDE = 0
    # Recompute the backbone's activations in the backward pass, which saves memory and costs time.
    cfg.VTN.BACKBONE.ACT_CHECKPOINT = False
    # k: of each k blocks the first is recomputed on its own; a larger k saves time, a smaller one memory. 0:
    # the whole backbone at once, which saves memory together with CHUNK_FRAMES.
    cfg.VTN.BACKBONE.ACT_CHECKPOINT_EVERY = 0

    # Several tokens per frame: concat (one linear layer for all tokens, results side by side), attend
    # (learned queries over the tokens of a frame), sequence (all tokens in the encoder's sequence). Without
    # effect on AttentiveProbe, which has all tokens in its sequence.
    cfg.VTN.FUSION = "concat"
    # Width of a token after the linear layer; 0: HIDDEN_DIM, for concat divided by the number of tokens. With
    # one token per frame, concat has this layer (a bottleneck) only if the width is not 0.
    cfg.VTN.FUSION_DIM = 0
    # Number of learned queries of attend.
    cfg.VTN.FUSION_QUERIES = 4

    cfg.VTN.LONGFORMER = CfgNode()
    # Width of the temporal encoder; a linear layer projects backbone features of another width to it.
    cfg.VTN.LONGFORMER.HIDDEN_DIM = 768
    # Start from this Longformer, a folder of Hugging Face or a file (rules: vtn/encoder/longformer.py).
    cfg.VTN.LONGFORMER.CHECKPOINT = ""
    cfg.VTN.LONGFORMER.NUM_HIDDEN_LAYERS = 3
    cfg.VTN.LONGFORMER.NUM_ATTENTION_HEADS = 12
    cfg.VTN.LONGFORMER.INTERMEDIATE_SIZE = 3072
    # Two-sided attention window: a frame attends to half of it on each side. One even number for all layers,
    # or one per layer.
    cfg.VTN.LONGFORMER.ATTENTION_WINDOW = [18]
    # Rows of the position table. Positions are taken modulo this minus 2; [CLS] and padding have a row each.
    cfg.VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS = 288
    # Accept checkpoints with another number of rows: the rows of frames are cut or repeated.
    cfg.VTN.LONGFORMER.ADAPT_POSITIONS = False
    # learned (the table above), sinusoidal (fixed, for any length), none.
    cfg.VTN.LONGFORMER.POSITION = "learned"
    # frame: index in the source video; second: time in seconds × POSITION_RATE.
    cfg.VTN.LONGFORMER.POSITION_UNIT = "frame"
    # Positions per second.
    cfg.VTN.LONGFORMER.POSITION_RATE = 25.0
    cfg.VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB = 0.1
    cfg.VTN.LONGFORMER.HIDDEN_DROPOUT_PROB = 0.1

    # Preparation of features for training on few videos; all off is the paper's.
    cfg.VTN.INPUT = CfgNode()
    # Standardise each channel by the mean and deviation of the training features, clipped to ±5. They are
    # computed when a training starts and are saved with the weights. Needs a frozen backbone.
    cfg.VTN.INPUT.STANDARDIZE = False
    # Add |x(t) - x(t - 1)| as further channels.
    cfg.VTN.INPUT.DIFFERENCES = False
    # Dropout of channels, in all frames of a clip.
    cfg.VTN.INPUT.DROPOUT = 0.0

    # MODEL.MODEL_NAME AttentiveProbe: blocks of full attention over all tokens, then a learned query, as in
    # V-JEPA 2's frozen evaluation; its cost is quadratic in the number of tokens. A linear layer classifies:
    # VTN.HEAD and MODEL.DROPOUT_RATE are without effect.
    cfg.VTN.PROBE = CfgNode()
    # Width; a linear layer projects features of another width to it. 0: the width of the features.
    cfg.VTN.PROBE.HIDDEN_DIM = 0
    # Number of blocks, of which the last one is the query's.
    cfg.VTN.PROBE.NUM_BLOCKS = 4
    cfg.VTN.PROBE.NUM_HEADS = 16
    # Width of the hidden layer of an MLP, as a multiple of HIDDEN_DIM.
    cfg.VTN.PROBE.MLP_RATIO = 4.0
    # sinusoidal (fixed in time, learned within the frame), none (for features that carry their positions).
    cfg.VTN.PROBE.POSITION = "sinusoidal"
    # frame: index in the source video; second: time in seconds × POSITION_RATE (positions per second).
    cfg.VTN.PROBE.POSITION_UNIT = "frame"
    cfg.VTN.PROBE.POSITION_RATE = 25.0
    # Dropout of the output of each attention and each MLP.
    cfg.VTN.PROBE.DROPOUT = 0.0

    cfg.VTN.HEAD = CfgNode()
    # Width of the head's hidden layer; its dropout is MODEL.DROPOUT_RATE.
    cfg.VTN.HEAD.MLP_DIM = 768
    # cls: the head sees the final [CLS]; cls+mean+std: also mean and deviation of the frames' final states.
    cfg.VTN.HEAD.POOLING = "cls"
    # Add the result of a linear layer on the features' statistics over time to the logits.
    cfg.VTN.HEAD.SKIP = False


def backbone_name(cfg: CfgNode) -> str:
    """Returns ``VTN.BACKBONE.NAME``, or where it is empty the backbone that ``MODEL.ARCH`` means.

    Returns an empty string where neither names a backbone; :func:`check_vtn_config` reports that.
    """
    return cfg.VTN.BACKBONE.NAME or BACKBONE_OF_ARCH.get(cfg.MODEL.ARCH.upper(), "")


def lora_options(cfg: CfgNode) -> dict[str, Any] | None:
    """Returns the arguments of ``vtn.backbones.tuning.lora.LoRA``; None where LoRA is off."""
    node = cfg.VTN.BACKBONE.LORA
    if node.RANK == 0:
        return None
    return {"rank": node.RANK, "alpha": node.ALPHA, "dropout": node.DROPOUT, "targets": list(node.TARGETS)}


def attention_windows(cfg: CfgNode) -> list[int]:
    """Returns the two-sided attention window of each layer in frames; one value applies to all layers."""
    windows = list(cfg.VTN.LONGFORMER.ATTENTION_WINDOW)
    return windows * cfg.VTN.LONGFORMER.NUM_HIDDEN_LAYERS if len(windows) == 1 else windows


def check_vtn_config(cfg: CfgNode) -> list[str]:
    """Returns the problems of the ``VTN`` section, one sentence each; an empty list for other models."""
    if cfg.MODEL.MODEL_NAME not in MODEL_NAMES:
        return []
    problems = [*_check_backbone(cfg), *_check_tokens(cfg), *_check_input_and_pooling(cfg)]
    if cfg.VTN.HEAD.MLP_DIM < 1:
        problems.append(f"VTN.HEAD.MLP_DIM = {cfg.VTN.HEAD.MLP_DIM}: must be 1 or more")
    if cfg.MODEL.MODEL_NAME == "VTN":
        problems += [*_check_sizes(cfg.VTN.LONGFORMER), *_check_windows(cfg.VTN.LONGFORMER)]
        problems += _check_positions(cfg.VTN.LONGFORMER)
    if cfg.MODEL.MODEL_NAME == "AttentiveProbe":
        problems += _check_probe(cfg.VTN.PROBE)
    return problems


def _check_backbone(cfg: CfgNode) -> Iterator[str]:
    backbone = cfg.VTN.BACKBONE
    if not backbone_name(cfg):
        yield (
            f"MODEL.ARCH = {cfg.MODEL.ARCH!r}: must be one of {', '.join(BACKBONE_OF_ARCH)} where "
            "VTN.BACKBONE.NAME is empty; set either of them"
        )
    for key in ("DROP_RATE", "DROP_PATH_RATE"):
        if not 0 <= backbone[key] < 1:
            yield f"VTN.BACKBONE.{key} = {backbone[key]}: must be a fraction, 0 or more and less than 1"
    for key, choices in (("POOLING", POOLINGS), ("FROZEN_DTYPE", FROZEN_DTYPES)):
        if backbone[key] not in ("", *choices):
            yield f"VTN.BACKBONE.{key} = {backbone[key]!r}: must be one of {', '.join(choices)}, or ''"
    yield from _check_learning(backbone)
    for key, zero in (
        ("CHUNK_FRAMES", "all at once"),
        ("CLIP_FRAMES", "as in the training of the encoder"),
        ("CLIP_STRIDE", "one clip after another"),
    ):
        if backbone[key] < 0:
            yield f"VTN.BACKBONE.{key} = {backbone[key]}: must be 0 ({zero}) or more"


def _check_tokens(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the keys that choose several tokens per frame."""
    backbone, vtn = cfg.VTN.BACKBONE, cfg.VTN
    tokens = list(backbone.TOKENS)
    if len(tokens) != 2 or not all(isinstance(count, int) and count >= 1 for count in tokens):
        yield (
            f"VTN.BACKBONE.TOKENS = {tokens}: must be rows and columns of a grid, such as [3, 3]; [1, 1] is "
            "one pooled vector per frame"
        )
    if backbone.STAGE < 0:
        yield f"VTN.BACKBONE.STAGE = {backbone.STAGE}: must be 0 (the last feature map) or more"
    if backbone.POOLING and (tokens != [1, 1] or backbone.CLASS_TOKEN or backbone.STAGE):
        yield (
            f"VTN.BACKBONE.POOLING = {backbone.POOLING!r}: must be '' where VTN.BACKBONE.TOKENS, CLASS_TOKEN "
            "or STAGE choose parts of the feature map"
        )
    if vtn.FUSION not in FUSIONS:
        yield f"VTN.FUSION = {vtn.FUSION!r}: must be one of {', '.join(FUSIONS)}"
    if cfg.MODEL.MODEL_NAME == "FrameAverage" and vtn.FUSION == "sequence":
        yield "VTN.FUSION = 'sequence': must be concat or attend for FrameAverage, which has no encoder"
    if vtn.FUSION_DIM < 0:
        yield f"VTN.FUSION_DIM = {vtn.FUSION_DIM}: must be 0 (chosen from HIDDEN_DIM) or more"
    if vtn.FUSION_QUERIES < 1:
        yield f"VTN.FUSION_QUERIES = {vtn.FUSION_QUERIES}: must be 1 or more"


def _check_input_and_pooling(cfg: CfgNode) -> Iterator[str]:
    """Yields the problems of the preparation of features and of the states that the head classifies."""
    given, head = cfg.VTN.INPUT, cfg.VTN.HEAD
    if not 0 <= given.DROPOUT < 1:
        yield f"VTN.INPUT.DROPOUT = {given.DROPOUT}: must be a fraction, 0 or more and less than 1"
    if given.STANDARDIZE and not cfg.VTN.BACKBONE.FROZEN and backbone_name(cfg) != "precomputed":
        yield (
            "VTN.INPUT.STANDARDIZE = True: must be False unless VTN.BACKBONE.FROZEN is True, since the "
            "statistics of features change while the backbone learns"
        )
    if head.POOLING not in HEAD_POOLINGS:
        yield f"VTN.HEAD.POOLING = {head.POOLING!r}: must be one of {', '.join(HEAD_POOLINGS)}"
    off: dict[str, Any] = {"INPUT.DIFFERENCES": False, "HEAD.POOLING": "cls", "HEAD.SKIP": False}
    if cfg.MODEL.MODEL_NAME == "AttentiveProbe":
        off |= {"INPUT.STANDARDIZE": False, "INPUT.DROPOUT": 0.0}
    if cfg.MODEL.MODEL_NAME == "VTN":
        off = {}
    for key, value in off.items():
        section, name = key.split(".")
        if cfg.VTN[section][name] != value:
            yield (
                f"VTN.{key} = {cfg.VTN[section][name]!r}: must be {value!r} for "
                f"{cfg.MODEL.MODEL_NAME}, which has no such part; use MODEL.MODEL_NAME VTN"
            )


def _check_learning(backbone: CfgNode) -> Iterator[str]:
    """Yields the problems of the keys that choose the trainable parts of the backbone."""
    if backbone.FROZEN_BLOCKS < 0:
        yield f"VTN.BACKBONE.FROZEN_BLOCKS = {backbone.FROZEN_BLOCKS}: must be 0 (none) or more"
    if backbone.FROZEN and backbone.FROZEN_BLOCKS:
        yield (
            f"VTN.BACKBONE.FROZEN_BLOCKS = {backbone.FROZEN_BLOCKS}: must be 0 where VTN.BACKBONE.FROZEN is "
            "True, which freezes all blocks; use one of the two"
        )
    lora = backbone.LORA
    frozen = backbone.FROZEN or backbone.FROZEN_BLOCKS > 0
    if backbone.LEARNING_NORMS and not (frozen or lora.RANK):
        yield (
            "VTN.BACKBONE.LEARNING_NORMS = True: must be False where no part of the backbone is frozen; set "
            "VTN.BACKBONE.FROZEN True, or set it False"
        )
    if backbone.FROZEN_DTYPE and not frozen:
        yield (
            f"VTN.BACKBONE.FROZEN_DTYPE = {backbone.FROZEN_DTYPE!r}: must be '' where no part of the "
            "backbone is frozen; use TRAIN.MIXED_PRECISION for trained parts"
        )
    if backbone.FROZEN_DTYPE == "float16" and backbone.LEARNING_NORMS:
        yield (
            "VTN.BACKBONE.FROZEN_DTYPE = 'float16': must be 'bfloat16' or '' where LEARNING_NORMS is True; "
            "the gradients of norms pass through the frozen part, and are rounded to 0 in float16"
        )
    if lora.RANK < 0:
        yield f"VTN.BACKBONE.LORA.RANK = {lora.RANK}: must be 0 (no LoRA) or more"
    if lora.RANK and frozen:
        yield (
            f"VTN.BACKBONE.LORA.RANK = {lora.RANK}: must be 0 with a frozen backbone, since LoRA itself "
            "freezes the backbone's weights; set VTN.BACKBONE.FROZEN False and FROZEN_BLOCKS 0"
        )
    if not 0 <= lora.DROPOUT < 1:
        yield f"VTN.BACKBONE.LORA.DROPOUT = {lora.DROPOUT}: must be a fraction, 0 or more and less than 1"


def _check_sizes(encoder: CfgNode) -> Iterator[str]:
    for key in ("HIDDEN_DIM", "NUM_HIDDEN_LAYERS", "NUM_ATTENTION_HEADS", "INTERMEDIATE_SIZE"):
        if encoder[key] < 1:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]}: must be 1 or more"
    width, heads = encoder.HIDDEN_DIM, encoder.NUM_ATTENTION_HEADS
    if width >= 1 and heads >= 1 and width % heads:
        yield (
            f"VTN.LONGFORMER.NUM_ATTENTION_HEADS = {heads}: must divide VTN.LONGFORMER.HIDDEN_DIM = "
            f"{width}; use for instance {_nearest_divisor(width, heads)}"
        )
    for key in ("ATTENTION_PROBS_DROPOUT_PROB", "HIDDEN_DROPOUT_PROB"):
        if not 0 <= encoder[key] < 1:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]}: must be a fraction, 0 or more and less than 1"


def _check_windows(encoder: CfgNode) -> Iterator[str]:
    windows, layers = encoder.ATTENTION_WINDOW, encoder.NUM_HIDDEN_LAYERS
    key = f"VTN.LONGFORMER.ATTENTION_WINDOW = {windows}"
    if any(window < 2 or window % 2 for window in windows):
        yield f"{key}: must be even numbers from 2 on, since a window has two equal sides"
    if len(windows) not in (1, layers):
        yield (
            f"{key}: must be one window for all layers, or one per layer; "
            f"VTN.LONGFORMER.NUM_HIDDEN_LAYERS is {layers}"
        )


def _check_positions(encoder: CfgNode) -> Iterator[str]:
    for key, choices in (("POSITION", POSITIONS), ("POSITION_UNIT", POSITION_UNITS)):
        if encoder[key] not in choices:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]!r}: must be one of {', '.join(choices)}"
    if encoder.POSITION_RATE <= 0:
        yield f"VTN.LONGFORMER.POSITION_RATE = {encoder.POSITION_RATE}: must be above 0 positions per second"
    if encoder.MAX_POSITION_EMBEDDINGS < 3:
        yield (
            f"VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS = {encoder.MAX_POSITION_EMBEDDINGS}: must be 3 or more, "
            "since [CLS] and padding take one row each"
        )
    if encoder.POSITION == "sinusoidal" and encoder.HIDDEN_DIM % 2:
        yield (
            f"VTN.LONGFORMER.HIDDEN_DIM = {encoder.HIDDEN_DIM}: must be even, since sinusoidal positions are "
            "pairs of sine and cosine; use an even width, or another VTN.LONGFORMER.POSITION"
        )


def _check_probe(probe: CfgNode) -> Iterator[str]:
    """Yields the problems of the attentive probe's keys."""
    for key, minimum in (("HIDDEN_DIM", 0), ("NUM_BLOCKS", 1), ("NUM_HEADS", 1)):
        if probe[key] < minimum:
            yield f"VTN.PROBE.{key} = {probe[key]}: must be {minimum} or more"
    for key in ("MLP_RATIO", "POSITION_RATE"):
        if probe[key] <= 0:
            yield f"VTN.PROBE.{key} = {probe[key]}: must be above 0"
    for key, choices in (("POSITION", PROBE_POSITIONS), ("POSITION_UNIT", POSITION_UNITS)):
        if probe[key] not in choices:
            yield f"VTN.PROBE.{key} = {probe[key]!r}: must be one of {', '.join(choices)}"
    if not 0 <= probe.DROPOUT < 1:
        yield f"VTN.PROBE.DROPOUT = {probe.DROPOUT}: must be a fraction, 0 or more and less than 1"
    # Width 0 stands for the width of the features, which only the built backbone knows.
    if probe.HIDDEN_DIM > 0 and probe.NUM_HEADS >= 1 and probe.HIDDEN_DIM % probe.NUM_HEADS:
        yield (
            f"VTN.PROBE.NUM_HEADS = {probe.NUM_HEADS}: must divide VTN.PROBE.HIDDEN_DIM = "
            f"{probe.HIDDEN_DIM}; use for instance {_nearest_divisor(probe.HIDDEN_DIM, probe.NUM_HEADS)}"
        )
    if probe.HIDDEN_DIM % 2 and probe.POSITION == "sinusoidal":
        yield (
            f"VTN.PROBE.HIDDEN_DIM = {probe.HIDDEN_DIM}: must be even, since sinusoidal positions are pairs "
            "of sine and cosine; use an even width, or VTN.PROBE.POSITION none"
        )


def _nearest_divisor(width: int, heads: int) -> int:
    """Returns the divisor of ``width`` that is nearest to ``heads``."""
    return min((n for n in range(1, width + 1) if width % n == 0), key=lambda n: abs(n - heads))
