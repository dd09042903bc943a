"""Attention of a vision transformer's class token to the patches of a frame, as the network computes it.

N images, A heads, L tokens, h w grid of patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vtn.backbones.hugging_face.token_layout import TokenLayout
from vtn.backbones.maps.feature_map import grid_of

Run = Callable[[Tensor], object]
"""Runs the backbone on images (N, 3, H, W)."""


@torch.no_grad()
def class_token_attention(backbone: nn.Module, run: Run, images: Tensor) -> Tensor | None:
    """Returns the weights (N, h, w) of the patches in the last block that runs, the mean over heads.

    They sum to 1 together with those of the class token itself and of register tokens. None: the network has
    no class token, or no attention whose weights it can give.

    Args:
        backbone: a network of timm, torchvision or Hugging Face, with any wrapper around it.
        run: see :data:`Run`.
    """
    layout = _layout(backbone)
    if layout is None:
        return None
    with _recording(backbone) as weights:
        run(images)
    if not weights or weights[-1].ndim != 4:
        return None
    of_class = layout.patches(weights[-1].mean(1)[:, 0]).float()  # (N, A, L, L) -> (N, patches)
    h, w = grid_of(of_class.shape[1], *images.shape[-2:])
    return of_class.unflatten(1, (h, w))


def _layout(backbone: nn.Module) -> TokenLayout | None:
    """Returns the order of the tokens, the first being the class token; None without one."""
    for module in backbone.modules():
        if (layout := _layout_of_hugging_face(module)) is not None:
            return layout if layout.class_tokens else None
        if getattr(module, "cls_token", None) is not None:  # timm
            return TokenLayout((0,), int(getattr(module, "num_prefix_tokens", 1)))
        if getattr(module, "class_token", None) is not None:  # torchvision
            return TokenLayout((0,), 1)
    return None


def _layout_of_hugging_face(module: Any) -> TokenLayout | None:
    """Returns the layout that a Hugging Face backbone states; None for any other module.

    The class itself is not imported: it needs torch's compiler, whose import takes a second.
    """
    layout = getattr(module, "layout", None)
    return layout if isinstance(layout, TokenLayout) else None


@contextmanager
def _recording(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Yields a list to which each block that runs in the context adds its weights (N, A, L, L).

    Fused attention does not form the weights; the same products are computed without it meanwhile.
    """
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: Any, output: Any) -> None:
        """Keeps the newest weights alone, since those of all blocks may need much memory."""
        weights = output[1] if isinstance(output, tuple) else output
        if isinstance(weights, Tensor):
            found[:] = [weights]

    with ExitStack() as stack:
        for module in backbone.modules():
            if hasattr(module, "fused_attn") and isinstance(
                drop := getattr(module, "attn_drop", None), nn.Module
            ):
                stack.enter_context(_unfused(module))
                stack.callback(drop.register_forward_hook(keep).remove)
            elif isinstance(module, nn.MultiheadAttention):
                stack.callback(module.register_forward_pre_hook(_ask_for_weights, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(keep).remove)
            elif _layout_of_hugging_face(module) is not None:
                network: Any = module
                stack.enter_context(_eager(network))
                for name, part in network.model.named_modules():
                    if name.endswith(("attention", "self_attn")):
                        stack.callback(part.register_forward_hook(keep).remove)
        yield found


@contextmanager
def _unfused(attention: Any) -> Iterator[None]:
    fused, attention.fused_attn = attention.fused_attn, False
    try:
        yield
    finally:
        attention.fused_attn = fused


@contextmanager
def _eager(backbone: Any) -> Iterator[None]:
    """Lets a model of Hugging Face compute attention by plain products, whose weights its modules return."""
    before = backbone.model.config._attn_implementation
    backbone.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        backbone.model.set_attn_implementation(before)


def _ask_for_weights(_: nn.Module, inputs: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Changes a call of torch's attention so that it returns the weights of each head."""
    return inputs, {**options, "need_weights": True, "average_attn_weights": False}
