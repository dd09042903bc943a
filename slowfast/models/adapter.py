"""Model classes written for PySlowFast's registry, adapted to the interface of the framework.

B clips, T frames, H W pixels, K classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slowfast.errors import ConfigError, InputError, SlowFastError
from slowfast.log import get_logger, log_once
from slowfast.models.capabilities import FillsShortClips

logger = get_logger(__name__)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# Arguments of forward() after the frames.
_OPTIONAL = {"positions", "mask"}
_FILLED = (
    "{}.forward does not take `mask`: the last frame of a clip that is shorter than others of its batch, or "
    "than DATA.NUM_FRAMES, is repeated"
)


def adapt_class(model_class: Any, name: str) -> Any:
    """Returns a class whose ``forward`` takes ``frames``, ``positions`` and ``mask``.

    This is ``model_class`` itself where possible, otherwise a subclass. Names of parameters are the same in
    both, so that checkpoints of ``model_class`` can be loaded.

    Args:
        model_class: the entry of ``MODEL_REGISTRY``.
        name: the name under which it is registered, for messages.

    Raises:
        ConfigError: for a class that the framework cannot build or call; the message names what to add.
    """
    if not (isinstance(model_class, type) and issubclass(model_class, nn.Module)):
        raise _refuse(name, "register a subclass of torch.nn.Module")
    if not _can_be_built(model_class):
        raise _refuse(
            name,
            "add `def __init__(self, cfg)` or the class method `from_config(cls, cfg, *, fetch_weights)`",
        )
    accepted = _optional_arguments(model_class)
    if accepted is None:
        raise _refuse(name, "add `def forward(self, frames)` or `def forward(self, frames, positions, mask)`")
    return model_class if accepted == _OPTIONAL else _with_all_arguments(model_class, accepted)


def fill_in_defaults(
    model: nn.Module, *, num_classes: int, mean: tuple[float, ...], std: tuple[float, ...], num_frames: int
) -> None:
    """Sets those attributes of :class:`slowfast.models.capabilities.VideoModel` that a model lacks.

    Args:
        num_classes: K.
        mean, std: normalisation of frames, per channel.
        num_frames: T of training clips, to which a class without ``mask`` fills shorter clips.
    """
    if isinstance(model, FillsShortClips):
        model.filled_frames = num_frames
    defaults: Mapping[str, Any] = {
        "frame_mean": mean,
        "frame_std": std,
        "position_rate": None,
        "num_classes": num_classes,
    }
    for name, value in defaults.items():
        if not hasattr(model, name):
            setattr(model, name, value)


def _can_be_built(model_class: Any) -> bool:
    """Returns whether ``from_config`` takes ``fetch_weights``.

    For a class without it: whether ``cfg`` is the constructor's first argument and its only required one.
    """
    if hasattr(model_class, "from_config"):
        arguments = inspect.signature(model_class.from_config).parameters
        return "fetch_weights" in arguments or any(p.kind is p.VAR_KEYWORD for p in arguments.values())
    parameters = list(inspect.signature(model_class).parameters.values())
    return bool(parameters) and parameters[0].name == "cfg" and not any(map(_is_required, parameters[1:]))


def _optional_arguments(model_class: Any) -> set[str] | None:
    """Returns which of ``positions`` and ``mask`` the class's ``forward`` accepts after the frames.

    None where it requires further arguments, does not take the frames, or is missing.
    """
    if model_class.forward is nn.Module.forward:
        return None
    _, *parameters = inspect.signature(model_class.forward).parameters.values()
    variadic = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    if variadic:
        return _OPTIONAL  # `forward(self, *args)`, usually of a subclass that passes its arguments on
    if not parameters or parameters[0].kind not in _POSITIONAL:
        return None
    others = [parameter for parameter in parameters[1:] if parameter.name not in _OPTIONAL]
    return None if any(map(_is_required, others)) else {p.name for p in parameters[1:]} & _OPTIONAL


def _with_all_arguments(model_class: Any, accepted: set[str]) -> type[nn.Module]:
    """Returns a subclass whose ``forward`` has all arguments and passes on the ``accepted`` ones.

    Without ``mask``, the result is a :class:`slowfast.models.capabilities.FillsShortClips`. Errors of the
    model's own code get a hint.
    """
    takes_mask = "mask" in accepted

    def forward(
        self: nn.Module, frames: Tensor, positions: Tensor | None = None, mask: Tensor | None = None
    ) -> Any:
        if not takes_mask:
            num_frames = max(frames.shape[2], self.filled_frames)  # type: ignore[operator]
            if mask is not None or frames.shape[2] < num_frames:
                if not torch.compiler.is_compiling():
                    log_once(logger, _FILLED.format(model_class.__name__))
                frames, mask = fill_up(frames, mask, num_frames), None
        given = {"positions": positions, "mask": mask}
        arguments = {key: given[key] for key in accepted}
        if torch.compiler.is_compiling():  # torch.compile reports errors itself
            return model_class.forward(self, frames, **arguments)
        try:
            return model_class.forward(self, frames, **arguments)
        except Exception as error:
            if not isinstance(error, SlowFastError):
                error.add_note(_describe_call(model_class, frames))
            raise

    # The same names, since hashes and messages contain them.
    names = {key: getattr(model_class, key) for key in ("__module__", "__qualname__", "__doc__")}
    filled = {} if takes_mask else {"filled_frames": 0}
    return type(model_class.__name__, (model_class,), {**names, **filled, "forward": forward})


def require_logits(logits: Any, frames: Tensor, model: Any) -> Tensor:
    """Returns the result of a model for frames or features (B, ...) unchanged.

    Raises:
        ConfigError: where it is not a tensor (B, K).
    """
    num_classes = getattr(model, "num_classes", None)
    is_pair = isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == len(frames)
    if is_pair and num_classes in (None, logits.shape[1]):
        return logits
    raise ConfigError(
        f"MODEL.MODEL_NAME: {type(model).__name__} must return one tensor of logits (clips, classes), here "
        f"({len(frames)}, {num_classes}), and has returned {describe_returned(logits)}"
    )


def describe_returned(result: Any) -> str:
    """Returns the shape of a tensor, or the type of another result, for messages.

    >>> describe_returned(torch.zeros(2, 3)), describe_returned((1, 2)), describe_returned(None)
    ('a tensor of shape (2, 3)', 'a value of type tuple', 'None')
    """
    if result is None:
        return "None"
    if isinstance(result, Tensor):
        return f"a tensor of shape {tuple(result.shape)}"
    return f"a value of type {type(result).__name__}"


def fill_up(frames: Tensor, mask: Tensor | None, num_frames: int) -> Tensor:
    """Returns clips of ``num_frames`` frames; their last real frame replaces masked and missing frames.

    Args:
        frames: (B, 3, T, H, W).
        mask: (B, T) bool, True where a frame is real; None: all frames are.

    Returns:
        (B, 3, num_frames, H, W).

    Raises:
        InputError: for a clip without a real frame.
    """
    index = torch.arange(num_frames, device=frames.device)
    real = (index < frames.shape[2])[None]  # (1, num_frames)
    if mask is not None:
        # A GPU's mask is not asked, since the answer would be waited for; the loader checks its batches.
        if mask.is_cpu and not mask.any(dim=1).all():
            empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
            raise InputError(f"mask: clips {empty} of the batch must have a real frame; leave them out")
        real = F.pad(mask, (0, num_frames - mask.shape[1]), value=False)  # (B, num_frames)
    last = torch.where(real, index, 0).amax(dim=1, keepdim=True)  # (B, 1), the last real frame
    source = torch.where(real, index, last)[:, None, :, None, None]  # (B, 1, num_frames, 1, 1)
    return frames.gather(2, source.expand(*frames.shape[:2], num_frames, *frames.shape[3:]))


def _describe_call(model_class: Any, frames: Tensor) -> str:
    """Returns a hint for an error in the code of a model."""
    return (
        f"{model_class.__name__}.forward has received one tensor of shape {tuple(frames.shape)}, (clips, 3, "
        "frames, height, width), and must return logits (clips, classes). A model written for PySlowFast "
        "expects a list of such tensors: see 'From PySlowFast' in docs/EXTENDING.md"
    )


def _is_required(parameter: inspect.Parameter) -> bool:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variadic


def _refuse(name: str, remedy: str) -> ConfigError:
    return ConfigError(f"MODEL.MODEL_NAME = {name!r}: must be a class that the framework can build; {remedy}")
