"""Learning rates, parameter groups and optimisers."""

from slowfast.solver.lr_policy import LRPolicy, build_lr_policy, lr_scale
from slowfast.solver.optimizer import build_optimizer, set_learning_rate

__all__ = ["LRPolicy", "build_lr_policy", "build_optimizer", "lr_scale", "set_learning_rate"]
