from .lr_policy import LR_POLICY_REGISTRY as LR_POLICY_REGISTRY
from .lr_policy import LRPolicy as LRPolicy
from .lr_policy import build_lr_policy as build_lr_policy
from .lr_policy import lr_scale as lr_scale
from .optimizer import OPTIMIZER_REGISTRY as OPTIMIZER_REGISTRY
from .optimizer import build_optimizer as build_optimizer
from .optimizer import set_learning_rate as set_learning_rate
