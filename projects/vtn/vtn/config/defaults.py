"""The keys of VTN with their defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # keeps `--help` fast
    from fvcore.common.config import CfgNode


def add_vtn_config(cfg: CfgNode) -> None:
    """Adds the ``VTN`` section to a configuration, in place."""
    from fvcore.common.config import CfgNode

    cfg.VTN = CfgNode()
    _add_backbone(cfg)
    _add_fusion(cfg)
    _add_encoder(cfg)
    _add_input_and_head(cfg)
    _add_probe(cfg)


def _add_backbone(cfg: CfgNode) -> None:
    from fvcore.common.config import CfgNode

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


def _add_fusion(cfg: CfgNode) -> None:
    # Several tokens per frame: concat (one linear layer for all tokens, results side by side), attend
    # (learned queries over the tokens of a frame), sequence (all tokens in the encoder's sequence). Without
    # effect on AttentiveProbe, which has all tokens in its sequence.
    cfg.VTN.FUSION = "concat"
    # Width of a token after the linear layer; 0: HIDDEN_DIM, for concat divided by the number of tokens. With
    # one token per frame, concat has this layer (a bottleneck) only if the width is not 0.
    cfg.VTN.FUSION_DIM = 0
    # Number of learned queries of attend.
    cfg.VTN.FUSION_QUERIES = 4


def _add_encoder(cfg: CfgNode) -> None:
    from fvcore.common.config import CfgNode

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


def _add_input_and_head(cfg: CfgNode) -> None:
    from fvcore.common.config import CfgNode

    # Preparation of features for training on few videos; all off is the paper's.
    cfg.VTN.INPUT = CfgNode()
    # Standardise each channel by the mean and deviation of the training features, clipped to ±5. They are
    # computed when a training starts and are saved with the weights. Needs a frozen backbone.
    cfg.VTN.INPUT.STANDARDIZE = False
    # Add |x(t) - x(t - 1)| as further channels.
    cfg.VTN.INPUT.DIFFERENCES = False
    # Dropout of channels, in all frames of a clip.
    cfg.VTN.INPUT.DROPOUT = 0.0

    cfg.VTN.HEAD = CfgNode()
    # Width of the head's hidden layer; its dropout is MODEL.DROPOUT_RATE.
    cfg.VTN.HEAD.MLP_DIM = 768
    # cls: the head sees the final [CLS]; cls+mean+std: also mean and deviation of the frames' final states.
    cfg.VTN.HEAD.POOLING = "cls"
    # Add the result of a linear layer on the features' statistics over time to the logits.
    cfg.VTN.HEAD.SKIP = False


def _add_probe(cfg: CfgNode) -> None:
    from fvcore.common.config import CfgNode

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
