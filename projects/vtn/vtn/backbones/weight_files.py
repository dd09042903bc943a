"""A backbone's weights from a file of any origin, with a report of what became of each of its entries."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.errors import CheckpointError
from slowfast.log import get_logger
from vtn.backbones.base import Backbone

logger = get_logger(__name__)

# Where training programs keep the weights in their files.
_PLACES = ("model_state", "state_dict", "model_state_dict", "model_ema", "model", "teacher", "module")
# First parts of the names of what classifies, projects or reconstructs on top of a backbone.
_HEADS = frozenset(
    {
        "head",
        "heads",
        "head_dist",
        "head_drop",
        "fc",
        "classifier",
        "last_linear",
        "mlp_head",
        "proj",
        "dino_head",
    }
)
_SHOWN = 20


@dataclass(frozen=True)
class WeightReport:
    """What became of the entries of a file.

    Attributes:
        taken: how many.
        prefix: what stood before the backbone's names.
        heads: names of the classifier's entries, which are not taken.
        elsewhere: names of entries without the prefix, of other parts of a model.
    """

    taken: int
    prefix: str
    heads: tuple[str, ...]
    elsewhere: tuple[str, ...]


def load_backbone_weights(backbone: Backbone, path: str | Path) -> WeightReport:
    """Loads the weights in ``path`` into a backbone, all that it has; the log says what became of each entry.

    The file may be of a whole model: whatever stands before the backbone's names is found, and its classifier
    is left. timm's models take all forms that timm itself converts, with position embeddings resized.

    Args:
        path: ``.safetensors``, or any file that ``torch.load(weights_only=True)`` reads.

    Raises:
        CheckpointError: listing the missing, unexpected and misshapen weights.
    """
    network = getattr(backbone.network, "wrapped", backbone.network)
    own = network.state_dict()
    content = _find_weights(read_checkpoint(path), path)
    prefix = _prefix(content, own)
    elsewhere = tuple(name for name in content if not name.startswith(prefix))
    weights = {
        name.removeprefix(prefix): tensor for name, tensor in content.items() if name.startswith(prefix)
    }
    heads = {name for name in weights if name not in own and _is_head(name, backbone.classifier)}
    body: Mapping[str, Tensor] = {name: tensor for name, tensor in weights.items() if name not in heads}
    if _differences(body, own):
        body = _convert(network, weights, path)
        body = {
            name: tensor
            for name, tensor in body.items()
            if name in own or not _is_head(name, backbone.classifier)
        }
    if problems := _differences(body, own):
        raise CheckpointError(
            f"VTN.BACKBONE.CHECKPOINT = {path}: does not fit the backbone {type(network).__name__}"
            + (f" (behind {prefix!r})" if prefix else "")
            + ":\n"
            + "\n".join(problems)
        )
    network.load_state_dict(body, strict=False)
    report = WeightReport(len(body), prefix, tuple(sorted(heads)), elsewhere)
    _tell(report, path)
    return report


def _find_weights(content: Mapping[str, Any], path: str | Path) -> Mapping[str, Tensor]:
    content = next((content[key] for key in _PLACES if isinstance(content.get(key), Mapping)), content)
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(f"{path} holds no weights; it has {', '.join(map(str, list(content)[:5]))}")
    return weights


def _prefix(content: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What stands in the file before most of the backbone's names."""
    votes: Counter[str] = Counter()
    for name in content:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in own:
                votes["".join(f"{part}." for part in parts[:start])] += 1
                break
    return votes.most_common(1)[0][0] if votes else ""


def _is_head(name: str, classifier: tuple[str, ...]) -> bool:
    return name.split(".")[0] in _HEADS or name.startswith(tuple(f"{layer}." for layer in classifier))


def _convert(network: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> Mapping[str, Tensor]:
    """The weights in today's names and sizes, where timm knows older forms of them."""
    convert: Callable[..., Any] | None = getattr(
        sys.modules[type(network).__module__], "checkpoint_filter_fn", None
    )
    if convert is None or not type(network).__module__.startswith("timm."):
        return weights
    try:
        converted = convert(dict(weights), network)
    except Exception as error:  # it expects the weights of that model and checks nothing
        raise CheckpointError(
            f"VTN.BACKBONE.CHECKPOINT = {path}: its {len(weights)} weights, such as {next(iter(weights))}, "
            f"are not those of {type(network).__name__} ({type(error).__name__}: {error})"
        ) from error
    return {name: tensor for name, tensor in converted.items() if isinstance(tensor, Tensor)}


def _differences(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    # Older files do not count batches.
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in weights if name not in own]
    misshapen = [
        f"{name} is {tuple(weights[name].shape)}, the backbone's {tuple(own[name].shape)}"
        for name in weights
        if name in own and weights[name].shape != own[name].shape
    ]
    listings = [("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)]
    return [_listing(what, names) for what, names in listings if names]


def _tell(report: WeightReport, path: str | Path) -> None:
    behind = f", found behind {report.prefix!r}" if report.prefix else ""
    lines = [f"backbone: {report.taken} weights of {path}{behind}"]
    for what, names in (("its head, not taken", report.heads), ("other parts, not taken", report.elsewhere)):
        if names:
            lines.append(_listing(what, names))
    logger.info("%s", "\n".join(lines))


def _listing(what: str, names: tuple[str, ...] | list[str]) -> str:
    rest = len(names) - _SHOWN
    more = [f"    … and {rest} more"] if rest > 0 else []
    return "\n".join([f"  {what} ({len(names)}):", *(f"    {name}" for name in names[:_SHOWN]), *more])
