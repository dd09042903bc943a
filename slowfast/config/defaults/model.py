"""Keys of the model and its loss."""

from __future__ import annotations

from fvcore.common.config import CfgNode

KEYS = CfgNode()

KEYS.MODEL = CfgNode()
# A name in MODEL_REGISTRY.
KEYS.MODEL.MODEL_NAME = "SlowFast"
# Architecture within a model family.
KEYS.MODEL.ARCH = "slowfast"
KEYS.MODEL.NUM_CLASSES = 400
# A name in LOSS_REGISTRY: for one class per video cross_entropy, focal; for mixed clips soft_cross_entropy,
# soft_focal; for several classes per video bce_logit, focal_logit.
KEYS.MODEL.LOSS_FUNC = "cross_entropy"
KEYS.MODEL.DROPOUT_RATE = 0.5
# A name in SCORE_ACTIVATION_REGISTRY: softmax, sigmoid, none. It turns logits into scores in tests, before
# the scores of a video's views are merged.
KEYS.MODEL.HEAD_ACT = "softmax"

# (new) Changes of the loss in training; validation and tests use the plain loss.
KEYS.LOSS = CfgNode()
# Keyword arguments of MODEL.LOSS_FUNC, such as gamma of focal.
KEYS.LOSS.ARGS = CfgNode(new_allowed=True)
# A name in CLASS_WEIGHT_REGISTRY: none, balanced, effective_number, given. The weights are scaled so that
# their mean over the training videos is 1.
KEYS.LOSS.CLASS_WEIGHTS = "none"
# Keyword arguments of CLASS_WEIGHTS: beta of effective_number, weights of given (one per class).
KEYS.LOSS.CLASS_WEIGHT_ARGS = CfgNode(new_allowed=True)
# Factor of log(fraction of a class in the training list), which is added to its logit in training (logit
# adjustment, Menon et al., 2021, eq. 10); 1 makes the mean accuracy over the classes the goal, 0: off.
KEYS.LOSS.LOGIT_ADJUSTMENT = 0.0
# Fraction of each label that is divided equally among all classes. For several classes per video the label of
# each class is moved towards 0.5 by this fraction.
KEYS.LOSS.LABEL_SMOOTHING = 0.0
