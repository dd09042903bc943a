"""The keys of VTN with their defaults."""

from __future__ import annotations

from fvcore.common.config import CfgNode

KEYS = CfgNode()

KEYS.VTN = CfgNode()
KEYS.VTN.BACKBONE = CfgNode()
# A name in BACKBONE_REGISTRY, a timm model, hf:NAME or hf:FOLDER, torchvision:NAME, detectron2:CONFIG,
# pytorchvideo:NAME; empty: the backbone of MODEL.ARCH (VIT, DEIT_B, DEIT_TI, R50, R101).
KEYS.VTN.BACKBONE.NAME = ""
# Start from the weights that the backbone's library publishes; they are downloaded.
KEYS.VTN.BACKBONE.PRETRAINED = True
# Start from the weights in this file instead; it may contain a full model.
KEYS.VTN.BACKBONE.CHECKPOINT = ""
# Pooling, where the backbone has a choice: cls, mean, map; empty: the choice of its authors.
KEYS.VTN.BACKBONE.POOLING = ""
# Rows and columns of a grid of tokens per frame, averaged from the feature map; [1, 1]: a pooled vector.
KEYS.VTN.BACKBONE.TOKENS = [1, 1]
# Use the class token of a transformer beside the grid.
KEYS.VTN.BACKBONE.CLASS_TOKEN = False
# Use the feature map after this stage or block, counted from 1; 0: the last one.
KEYS.VTN.BACKBONE.STAGE = 0
# Keep the backbone in evaluation mode and compute no gradients for it.
KEYS.VTN.BACKBONE.FROZEN = False
# Freeze only the backbone's stem and this number of its first blocks; 0: none.
KEYS.VTN.BACKBONE.FROZEN_BLOCKS = 0
# Train the normalisation layers of the frozen parts; batch norms keep their statistics.
KEYS.VTN.BACKBONE.LEARNING_NORMS = False
# Dtype in which frozen parts compute: bfloat16, float16; empty: the dtype of the other parts.
KEYS.VTN.BACKBONE.FROZEN_DTYPE = ""
# LoRA (needs the extra "lora"): only small matrices beside the backbone's linear layers are trained.
KEYS.VTN.BACKBONE.LORA = CfgNode()
# Rank of the matrices; 0: no LoRA. Their output is scaled by ALPHA / RANK.
KEYS.VTN.BACKBONE.LORA.RANK = 0
KEYS.VTN.BACKBONE.LORA.ALPHA = 16.0
KEYS.VTN.BACKBONE.LORA.DROPOUT = 0.0
# Last parts of the names of the adapted layers, such as [qkv, proj]; empty: all linear layers.
KEYS.VTN.BACKBONE.LORA.TARGETS = ()
# Keyword arguments that are passed to the backbone unchanged.
KEYS.VTN.BACKBONE.ARGS = CfgNode(new_allowed=True)
# Dropout and stochastic depth of the backbone.
KEYS.VTN.BACKBONE.DROP_RATE = 0.0
KEYS.VTN.BACKBONE.DROP_PATH_RATE = 0.0
# Frames per pass through the backbone; 0: all frames of a batch.
KEYS.VTN.BACKBONE.CHUNK_FRAMES = 0
# Clip encoders: frames per clip, and frames from the start of a clip to the start of the next one; 0: as
# in their training, and clips one after another.
KEYS.VTN.BACKBONE.CLIP_FRAMES = 0
KEYS.VTN.BACKBONE.CLIP_STRIDE = 0
# Recompute the backbone's activations in the backward pass, which saves memory and costs time.
KEYS.VTN.BACKBONE.ACT_CHECKPOINT = False
# k: of each k blocks the first is recomputed on its own; a larger k saves time, a smaller one memory. 0:
# the whole backbone at once, which saves memory together with CHUNK_FRAMES.
KEYS.VTN.BACKBONE.ACT_CHECKPOINT_EVERY = 0

# Several tokens per frame: concat (one linear layer for all tokens, results side by side), attend
# (learned queries over the tokens of a frame), sequence (all tokens in the encoder's sequence). Without
# effect on AttentiveProbe, which has all tokens in its sequence.
KEYS.VTN.FUSION = "concat"
# Width of a token after the linear layer; 0: HIDDEN_DIM, for concat divided by the number of tokens. With
# one token per frame, concat has this layer (a bottleneck) only if the width is not 0.
KEYS.VTN.FUSION_DIM = 0
# Number of learned queries of attend.
KEYS.VTN.FUSION_QUERIES = 4

KEYS.VTN.LONGFORMER = CfgNode()
# Width of the temporal encoder; a linear layer projects backbone features of another width to it.
KEYS.VTN.LONGFORMER.HIDDEN_DIM = 768
# Start from this Longformer, a folder of Hugging Face or a file (rules: vtn/encoder/longformer.py).
KEYS.VTN.LONGFORMER.CHECKPOINT = ""
KEYS.VTN.LONGFORMER.NUM_HIDDEN_LAYERS = 3
KEYS.VTN.LONGFORMER.NUM_ATTENTION_HEADS = 12
KEYS.VTN.LONGFORMER.INTERMEDIATE_SIZE = 3072
# Two-sided attention window: a frame attends to half of it on each side. One even number for all layers,
# or one per layer.
KEYS.VTN.LONGFORMER.ATTENTION_WINDOW = [18]
# Rows of the position table. Positions are taken modulo this minus 2; [CLS] and padding have a row each.
KEYS.VTN.LONGFORMER.MAX_POSITION_EMBEDDINGS = 288
# Accept checkpoints with another number of rows: the rows of frames are cut or repeated.
KEYS.VTN.LONGFORMER.ADAPT_POSITIONS = False
# learned (the table above), sinusoidal (fixed, for any length), none.
KEYS.VTN.LONGFORMER.POSITION = "learned"
# frame: index in the source video; second: time in seconds × POSITION_RATE.
KEYS.VTN.LONGFORMER.POSITION_UNIT = "frame"
# Positions per second.
KEYS.VTN.LONGFORMER.POSITION_RATE = 25.0
KEYS.VTN.LONGFORMER.ATTENTION_PROBS_DROPOUT_PROB = 0.1
KEYS.VTN.LONGFORMER.HIDDEN_DROPOUT_PROB = 0.1

# Preparation of features for training on few videos; all off is the paper's.
KEYS.VTN.INPUT = CfgNode()
# Standardise each channel by the mean and deviation of the training features, clipped to ±5. They are
# computed when a training starts and are saved with the weights. Needs a frozen backbone.
KEYS.VTN.INPUT.STANDARDIZE = False
# Add |x(t) - x(t - 1)| as further channels.
KEYS.VTN.INPUT.DIFFERENCES = False
# Dropout of channels, in all frames of a clip.
KEYS.VTN.INPUT.DROPOUT = 0.0

KEYS.VTN.HEAD = CfgNode()
# Width of the head's hidden layer; its dropout is MODEL.DROPOUT_RATE.
KEYS.VTN.HEAD.MLP_DIM = 768
# cls: the head sees the final [CLS]; cls+mean+std: also mean and deviation of the frames' final states.
KEYS.VTN.HEAD.POOLING = "cls"
# Add the result of a linear layer on the features' statistics over time to the logits.
KEYS.VTN.HEAD.SKIP = False

# MODEL.MODEL_NAME AttentiveProbe: blocks of full attention over all tokens, then a learned query, as in
# V-JEPA 2's frozen evaluation; its cost is quadratic in the number of tokens. A linear layer classifies:
# VTN.HEAD and MODEL.DROPOUT_RATE are without effect.
KEYS.VTN.PROBE = CfgNode()
# Width; a linear layer projects features of another width to it. 0: the width of the features.
KEYS.VTN.PROBE.HIDDEN_DIM = 0
# Number of blocks, of which the last one is the query's.
KEYS.VTN.PROBE.NUM_BLOCKS = 4
KEYS.VTN.PROBE.NUM_HEADS = 16
# Width of the hidden layer of an MLP, as a multiple of HIDDEN_DIM.
KEYS.VTN.PROBE.MLP_RATIO = 4.0
# sinusoidal (fixed in time, learned within the frame), none (for features that carry their positions).
KEYS.VTN.PROBE.POSITION = "sinusoidal"
# frame: index in the source video; second: time in seconds × POSITION_RATE (positions per second).
KEYS.VTN.PROBE.POSITION_UNIT = "frame"
KEYS.VTN.PROBE.POSITION_RATE = 25.0
# Dropout of the output of each attention and each MLP.
KEYS.VTN.PROBE.DROPOUT = 0.0
