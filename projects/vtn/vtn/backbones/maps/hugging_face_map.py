"""Feature maps of the image models of Hugging Face ``transformers``.

Shapes: N images, L tokens, h w height and width of a map, F width of a feature.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vtn.backbones.maps.early_exit import output_of
from vtn.backbones.maps.feature_map import FeatureMap, check_stage, from_tokens

_FINAL_NORMS = ("layernorm", "post_layernorm", "norm", "layer_norm")


def hugging_face_map(network: Any, images: Tensor, stage: int) -> FeatureMap:
    """Returns a map of a :class:`vtn.backbones.hugging_face.images.HuggingFaceBackbone`.

    See :data:`vtn.backbones.maps.feature_map.MapFunction`. Blocks after the stage are computed only in the
    first call for a kind of model, which finds the module that ends the stage, and in models without such a
    module (PVT v2).

    Raises:
        ModelError: for a stage that the model does not have.
    """
    beside_map = None  # a class token that is not among the tokens
    if stage == 0:
        output = network.run(images)
        tokens = _normalized(network, output["last_hidden_state"])
        if tokens.ndim == 4 and network.has_class_token:
            beside_map = network.class_token(output)
    else:
        tokens = _hidden_state(network, images, stage)
        norm = _final_norm(network.encoder, tokens.shape[-1])
        tokens = norm(tokens) if tokens.ndim == 3 and norm is not None else tokens
    if tokens.ndim == 4:
        return FeatureMap(tokens.permute(0, 2, 3, 1), beside_map)
    layout = network.layout
    found = from_tokens(layout.patches(tokens), 0, images, has_class_token=False)
    return FeatureMap(found.places, layout.class_token(tokens) if network.has_class_token else None)


_ENDS: dict[tuple[type, str, int], str] = {}
"""(class of a model, its configuration as JSON, stage) -> the module whose output is the map of the stage, ""
where no module has it as its output. Models are built with a trial on the meta device, which fills this, so
that the ranks of a sharded model never differ in the blocks that they compute."""


@torch.compiler.disable(recursive=False)
def _hidden_state(network: Any, images: Tensor, stage: int) -> Tensor:
    """Returns the tokens (N, L, F) or the map (N, F, h, w) after a stage or block, without a final norm."""
    key = (type(network.encoder), network.model.config.to_json_string(), stage)
    if name := _ENDS.get(key):
        return _first_tensor(output_of(network.encoder.get_submodule(name), lambda: network.run(images)))
    with _recorded_outputs(network.encoder) as outputs:
        states = network.run(images, output_hidden_states=True)["hidden_states"]
    first = _first_stage(network.encoder, len(states))
    check_stage(stage, len(states) - first)
    state = states[stage - 1 + first]
    # The last one is the outermost: it ends after the modules inside it.
    _ENDS[key] = ([name for name, output in outputs if output() is state] or [""])[-1]
    return state


def _first_stage(model: nn.Module, states: int) -> int:
    """Returns the index of the first stage among the hidden states: 1, or 0 where the stem is left out.

    Args:
        states: number of hidden states.
    """
    lists = (len(module) for module in model.modules() if isinstance(module, nn.ModuleList))
    # The first list holds the stages; lists inside a stage come later.
    return 0 if next((n for n in lists if n in (states - 1, states)), 0) == states else 1


@contextmanager
def _recorded_outputs(model: nn.Module) -> Iterator[list[tuple[str, Callable[[], Tensor | None]]]]:
    """Yields a list to which each module adds its name and a weak reference to its output when it ends."""
    outputs: list[tuple[str, Callable[[], Tensor | None]]] = []

    def record(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(tensor := _first_tensor(output), Tensor):
                outputs.append((name, weakref.ref(tensor)))

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in model.named_modules() if name]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(output: Any) -> Any:
    """Returns a module's output, or the first of several."""
    return output[0] if isinstance(output, tuple | list) and output else output


def _normalized(network: Any, tokens: Tensor) -> Tensor:
    """Applies the final norm where the model applies it to the pooled feature only: CLIP and BEiT do.

    Some models have it in their classifier, after their last map.
    """
    if tokens.ndim == 4:
        return network.norm_of_classifier(tokens)
    if (norm := network.norm_of_class_token) is not None:
        return norm(tokens)
    pooler_norm = getattr(getattr(network.model, "pooler", None), "layernorm", None)
    if network.own_pooling == "mean" and tokens.ndim == 3 and pooler_norm is not None:
        return pooler_norm(tokens)
    return tokens


def _final_norm(model: nn.Module, width: int) -> nn.Module | None:
    """Returns the norm after the last block; None where it is missing or has another width."""
    for name in _FINAL_NORMS:
        norm = getattr(model, name, None)
        if isinstance(norm, nn.Module) and getattr(norm, "normalized_shape", (width,))[-1] == width:
            return norm
    return None
