"""The tokens of a ``transformers`` image model: which are patches, and which stand for the whole image.

Shapes: N images, L tokens, F width of a token, h w grid of patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from slowfast.errors import ModelError
from vtn.backbones.maps.feature_map import grid_of

# Names of the parameter that is added to the patches as class token.
_CLASS_TOKENS = frozenset({"cls_token", "class_embedding", "cls_register_token"})
# Model types whose first token is the mean of the others.
_MEAN_FIRST = ("dinov3_convnext",)


@dataclass(frozen=True)
class TokenLayout:
    """The order of the tokens (N, L, F).

    Attributes:
        class_tokens: positions of the class tokens that make the feature of the image; empty: none.
        prefix: number of tokens before the patches: class, distillation and register tokens.
        suffix: number of tokens after the patches, such as those for the objects of a detector.
    """

    class_tokens: tuple[int, ...] = ()
    prefix: int = 0
    suffix: int = 0

    def class_token(self, tokens: Tensor) -> Tensor:
        """Returns the class token (N, F) of tokens (N, L, F), the mean where there are several."""
        if len(self.class_tokens) == 1:
            return tokens[:, self.class_tokens[0]]
        return tokens[:, list(self.class_tokens)].mean(1)

    def patches(self, tokens: Tensor) -> Tensor:
        """Returns the tokens (N, h·w, F) of the patches."""
        return tokens[:, self.prefix : tokens.shape[1] - self.suffix]


def token_layout(model: nn.Module) -> TokenLayout:
    """Returns the order of a model's tokens, from its configuration and the names of its parameters."""
    config: Any = model.config
    # A head that pools by attention may call its query a class token, which is not among the tokens.
    names = {name.rpartition(".")[2] for name, _ in model.named_parameters() if not name.startswith("head.")}
    count = 0
    if names & _CLASS_TOKENS:
        count = getattr(config, "n_cls_tokens", None) or getattr(config, "num_cls_tokens", None) or 1
    registers = getattr(config, "num_register_tokens", None) or getattr(config, "num_registers", None) or 0
    others = ("distillation_token" in names) + registers + (config.model_type in _MEAN_FIRST)
    # RADIO has one class token per teacher, and names those that make its summary.
    own: Any = getattr(model, "timm_model", None)  # of a model of timm, which knows its prefix
    prefix = getattr(own, "num_prefix_tokens", count + others)
    chosen = getattr(config, "summary_idxs", None) or range(count)
    return TokenLayout(
        tuple(chosen) if count else (),
        prefix,
        getattr(config, "num_detection_tokens", None) or 0,
    )


def check_patches(layout: TokenLayout, tokens: Tensor, size: int, backbone: str) -> None:
    """Raises ``ModelError`` if the tokens (N, L, F) of square images do not leave a grid of patches.

    Args:
        size: height and width of the images in pixels.
        backbone: name of the backbone, for the message.
    """
    count = tokens.shape[1] - layout.prefix - layout.suffix
    try:
        grid_of(count, size, size)
    except ModelError as error:
        raise ModelError(
            f"backbone {backbone}: {count} of its {tokens.shape[1]} tokens would count as patches of "
            f"{size}×{size} pixels: must be a grid, or the mean over patches is not known; use another model"
        ) from error
