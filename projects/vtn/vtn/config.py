"""The keys that VTN adds to the framework's configuration, their original names, and their checks."""

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
"""The backbone that ``MODEL.ARCH`` means where ``VTN.BACKBONE.NAME`` is empty (upper or lower case)."""

POSITIONS = ("learned", "sinusoidal", "none")
POSITION_UNITS = ("frame", "second")
# How one feature is made of many: the class token, the mean, a learned attention over them.
POOLINGS = ("cls", "mean", "map")
FROZEN_DTYPES = ("bfloat16", "float16")
MODEL_NAMES = ("VTN", "FrameAverage")

# The original keeps all keys flat under VTN; each stands for one of ours.
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
"""Keys of the original that have no meaning here: padding is masked, and there is one attention."""


ADJUSTABLE = (
    "VTN.BACKBONE.PRETRAINED",
    "VTN.BACKBONE.CHECKPOINT",
    "VTN.BACKBONE.DROP_",
    "VTN.BACKBONE.CHUNK_FRAMES",
    "VTN.BACKBONE.ACT_CHECKPOINT",
    "VTN.LONGFORMER.HIDDEN_DROPOUT_PROB",
    "VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB",
)
"""Keys that may change in the middle of a run: they leave the model what it is."""


def add_vtn_config(cfg: CfgNode) -> None:
    """Adds the ``VTN`` section to a configuration, in place."""
    from fvcore.common.config import CfgNode

    cfg.VTN = CfgNode()

    cfg.VTN.BACKBONE = CfgNode()
    # A name in BACKBONE_REGISTRY, a timm model, hf:NAME or hf:FOLDER, torchvision:NAME, detectron2:CONFIG;
    # empty: by MODEL.ARCH (VIT, DEIT_B, DEIT_TI, R50, R101).
    cfg.VTN.BACKBONE.NAME = ""
    # Start from the weights that the backbone's library publishes (downloads them).
    cfg.VTN.BACKBONE.PRETRAINED = True
    # Start from the weights in this file instead; it may be of a whole model.
    cfg.VTN.BACKBONE.CHECKPOINT = ""
    # How one feature is made of many, where the model has it: cls, mean, map; empty: as its authors did.
    cfg.VTN.BACKBONE.POOLING = ""
    # Keep the backbone in evaluation mode and without gradients.
    cfg.VTN.BACKBONE.FROZEN = False
    # Keep its stem and so many of its blocks so; 0: none.
    cfg.VTN.BACKBONE.FROZEN_BLOCKS = 0
    # Let the normalisation layers of what is frozen learn; batch norms keep their statistics.
    cfg.VTN.BACKBONE.LEARNING_NORMS = False
    # Numbers in which frozen parts compute: bfloat16, float16; empty: as the rest of the model.
    cfg.VTN.BACKBONE.FROZEN_DTYPE = ""
    # LoRA (needs the extra "lora"): of the backbone only small matrices beside its linear layers learn.
    cfg.VTN.BACKBONE.LORA = CfgNode()
    # Rank of the matrices; 0: no LoRA. They are scaled by ALPHA / RANK.
    cfg.VTN.BACKBONE.LORA.RANK = 0
    cfg.VTN.BACKBONE.LORA.ALPHA = 16.0
    cfg.VTN.BACKBONE.LORA.DROPOUT = 0.0
    # Ends of names of the layers that get them, such as [qkv, proj]; empty: all linear layers.
    cfg.VTN.BACKBONE.LORA.TARGETS = ()
    # Keyword arguments passed to the backbone as they are.
    cfg.VTN.BACKBONE.ARGS = CfgNode(new_allowed=True)
    # Dropout and stochastic depth of the backbone.
    cfg.VTN.BACKBONE.DROP_RATE = 0.0
    cfg.VTN.BACKBONE.DROP_PATH_RATE = 0.0
    # Frames that go through the backbone at once; 0: all of a batch.
    cfg.VTN.BACKBONE.CHUNK_FRAMES = 0
    # Recompute the backbone's activations in the backward pass: less memory, more time.
    cfg.VTN.BACKBONE.ACT_CHECKPOINT = False

    cfg.VTN.LONGFORMER = CfgNode()
    # Width of the temporal encoder; a linear layer joins a backbone of another width to it.
    cfg.VTN.LONGFORMER.HIDDEN_DIM = 768
    # Start from this Longformer, a folder in Hugging Face's form or a file (rules: vtn/longformer.py).
    cfg.VTN.LONGFORMER.CHECKPOINT = ""
    cfg.VTN.LONGFORMER.NUM_HIDDEN_LAYERS = 3
    cfg.VTN.LONGFORMER.NUM_ATTENTION_HEADS = 12
    cfg.VTN.LONGFORMER.INTERMEDIATE_SIZE = 3072
    # Two-sided: a frame sees half of the window on each side. One even number for all layers, or one a layer.
    cfg.VTN.LONGFORMER.ATTENTION_WINDOW = [18]
    # Rows of the position table: positions count modulo this minus 2 ([CLS] and padding have a row each).
    cfg.VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS = 288
    # learned (the table above), sinusoidal (fixed, any length), none.
    cfg.VTN.LONGFORMER.POSITION = "learned"
    # frame: index in the source video; second: time × POSITION_RATE.
    cfg.VTN.LONGFORMER.POSITION_UNIT = "frame"
    # Positions a second.
    cfg.VTN.LONGFORMER.POSITION_RATE = 25.0
    cfg.VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB = 0.1
    cfg.VTN.LONGFORMER.HIDDEN_DROPOUT_PROB = 0.1

    cfg.VTN.HEAD = CfgNode()
    # Width of the head's hidden layer; its dropout is MODEL.DROPOUT_RATE.
    cfg.VTN.HEAD.MLP_DIM = 768


def backbone_name(cfg: CfgNode) -> str:
    """Returns ``VTN.BACKBONE.NAME``, or where it is empty the backbone that ``MODEL.ARCH`` means.

    Returns an empty string where neither says one; :func:`check_vtn_config` reports that.
    """
    return cfg.VTN.BACKBONE.NAME or BACKBONE_OF_ARCH.get(cfg.MODEL.ARCH.upper(), "")


def lora_options(cfg: CfgNode) -> dict[str, Any] | None:
    """Returns the arguments of ``vtn.backbones.tuning.lora.LoRA``; None where there is to be none."""
    node = cfg.VTN.BACKBONE.LORA
    if node.RANK == 0:
        return None
    return {"rank": node.RANK, "alpha": node.ALPHA, "dropout": node.DROPOUT, "targets": list(node.TARGETS)}


def attention_windows(cfg: CfgNode) -> list[int]:
    """Returns the two-sided attention window of each layer; a single value stands for all layers."""
    windows = list(cfg.VTN.LONGFORMER.ATTENTION_WINDOW)
    return windows * cfg.VTN.LONGFORMER.NUM_HIDDEN_LAYERS if len(windows) == 1 else windows


def check_vtn_config(cfg: Any) -> list[str]:
    """Returns the problems of the ``VTN`` section, one sentence each; none where another model is chosen."""
    if cfg.MODEL.MODEL_NAME not in MODEL_NAMES:
        return []
    problems = [*_check_backbone(cfg)]
    if cfg.VTN.HEAD.MLP_DIM < 1:
        problems.append(f"VTN.HEAD.MLP_DIM = {cfg.VTN.HEAD.MLP_DIM}: is too small; use 1 or more")
    if cfg.MODEL.MODEL_NAME == "VTN":
        problems += [*_check_sizes(cfg.VTN.LONGFORMER), *_check_windows(cfg.VTN.LONGFORMER)]
        problems += _check_positions(cfg.VTN.LONGFORMER)
    return problems


def _check_backbone(cfg: Any) -> Iterator[str]:
    backbone = cfg.VTN.BACKBONE
    if not backbone_name(cfg):
        yield (
            f"MODEL.ARCH = {cfg.MODEL.ARCH!r}: stands for no backbone; set VTN.BACKBONE.NAME to the name of "
            f"one, or MODEL.ARCH to one of {', '.join(BACKBONE_OF_ARCH)}"
        )
    for key in ("DROP_RATE", "DROP_PATH_RATE"):
        if not 0 <= backbone[key] < 1:
            yield f"VTN.BACKBONE.{key} = {backbone[key]}: is no fraction; use 0 or more and less than 1"
    for key, choices in (("POOLING", POOLINGS), ("FROZEN_DTYPE", FROZEN_DTYPES)):
        if backbone[key] not in ("", *choices):
            yield f"VTN.BACKBONE.{key} = {backbone[key]!r}: is not known; use {', '.join(choices)} or ''"
    yield from _check_learning(backbone)
    if backbone.CHUNK_FRAMES < 0:
        yield f"VTN.BACKBONE.CHUNK_FRAMES = {backbone.CHUNK_FRAMES}: use 0 (all at once) or more"


def _check_learning(backbone: Any) -> Iterator[str]:
    """Checks what of the backbone is to learn."""
    if backbone.FROZEN_BLOCKS < 0:
        yield f"VTN.BACKBONE.FROZEN_BLOCKS = {backbone.FROZEN_BLOCKS}: use 0 (none) or more"
    if backbone.FROZEN and backbone.FROZEN_BLOCKS:
        yield (
            f"VTN.BACKBONE.FROZEN_BLOCKS = {backbone.FROZEN_BLOCKS}: VTN.BACKBONE.FROZEN True freezes all "
            "blocks; use one of the two"
        )
    lora = backbone.LORA
    frozen = backbone.FROZEN or backbone.FROZEN_BLOCKS > 0
    if backbone.LEARNING_NORMS and not (frozen or lora.RANK):
        yield (
            "VTN.BACKBONE.LEARNING_NORMS = True: nothing is frozen, so that all learns; set "
            "VTN.BACKBONE.FROZEN True, or leave it False"
        )
    if backbone.FROZEN_DTYPE and not frozen:
        yield (
            f"VTN.BACKBONE.FROZEN_DTYPE = {backbone.FROZEN_DTYPE!r}: nothing is frozen; use "
            "TRAIN.MIXED_PRECISION for what learns"
        )
    if lora.RANK < 0:
        yield f"VTN.BACKBONE.LORA.RANK = {lora.RANK}: use 0 (no LoRA) or more"
    if lora.RANK and frozen:
        yield (
            f"VTN.BACKBONE.LORA.RANK = {lora.RANK}: LoRA leaves the whole backbone as it is by itself; set "
            "VTN.BACKBONE.FROZEN False and FROZEN_BLOCKS 0"
        )
    if not 0 <= lora.DROPOUT < 1:
        yield f"VTN.BACKBONE.LORA.DROPOUT = {lora.DROPOUT}: is no fraction; use 0 or more and less than 1"


def _check_sizes(encoder: Any) -> Iterator[str]:
    for key in ("HIDDEN_DIM", "NUM_HIDDEN_LAYERS", "NUM_ATTENTION_HEADS", "INTERMEDIATE_SIZE"):
        if encoder[key] < 1:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]}: is too small; use 1 or more"
    width, heads = encoder.HIDDEN_DIM, encoder.NUM_ATTENTION_HEADS
    if width >= 1 and heads >= 1 and width % heads:
        near = min((n for n in range(1, width + 1) if width % n == 0), key=lambda n: abs(n - heads))
        yield (
            f"VTN.LONGFORMER.NUM_ATTENTION_HEADS = {heads}: does not divide VTN.LONGFORMER.HIDDEN_DIM = "
            f"{width}; use for instance {near}"
        )
    for key in ("ATTENTION_PROBS_DROPOUT_PROB", "HIDDEN_DROPOUT_PROB"):
        if not 0 <= encoder[key] < 1:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]}: is no fraction; use 0 or more and less than 1"


def _check_windows(encoder: Any) -> Iterator[str]:
    windows, layers = encoder.ATTENTION_WINDOW, encoder.NUM_HIDDEN_LAYERS
    key = f"VTN.LONGFORMER.ATTENTION_WINDOW = {windows}"
    if any(window < 2 or window % 2 for window in windows):
        yield f"{key}: a window has two equal sides; use even numbers from 2 on"
    if len(windows) not in (1, layers):
        yield (
            f"{key}: has {len(windows)} windows for VTN.LONGFORMER.NUM_HIDDEN_LAYERS = {layers}; "
            "give one for all layers, or one a layer"
        )


def _check_positions(encoder: Any) -> Iterator[str]:
    for key, choices in (("POSITION", POSITIONS), ("POSITION_UNIT", POSITION_UNITS)):
        if encoder[key] not in choices:
            yield f"VTN.LONGFORMER.{key} = {encoder[key]!r}: is not known; use {', '.join(choices)}"
    if encoder.POSITION_RATE <= 0:
        yield f"VTN.LONGFORMER.POSITION_RATE = {encoder.POSITION_RATE}: positions a second must be above 0"
    if encoder.MAX_POSITION_EMBEDDINGS < 3:
        yield (
            f"VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS = {encoder.MAX_POSITION_EMBEDDINGS}: leaves no row "
            "for frames, since [CLS] and padding take one each; use 3 or more"
        )
    if encoder.POSITION == "sinusoidal" and encoder.HIDDEN_DIM % 2:
        yield (
            f"VTN.LONGFORMER.HIDDEN_DIM = {encoder.HIDDEN_DIM}: sinusoidal positions are pairs of sine "
            "and cosine; use an even width, or another VTN.LONGFORMER.POSITION"
        )
