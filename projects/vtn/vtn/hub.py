"""Models as folders for the Hugging Face hub, see :mod:`vtn.folder.layout`, with a model card."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

from huggingface_hub import ModelCard, PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from torch import Tensor

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.checkpoint.weights import load_weights
from slowfast.errors import CheckpointError, ConfigError, ModelError, first_line
from slowfast.files import parse_json, write_text
from slowfast.models.build import MODEL_REGISTRY
from slowfast.models.weights_hash import weights_hash
from vtn.arguments.model_arguments import ModelArguments
from vtn.backbones.hub_access import find_file
from vtn.folder.entries import FACTS, NEEDED_ENTRIES, TRANSFORMERS_ENTRIES, arguments_as_json
from vtn.folder.layout import write_folder
from vtn.folder.model_size import check_arguments
from vtn.folder.untrusted import check_backbone, count_safetensors

PAPER = "https://arxiv.org/abs/2102.00719"
CARD = """---
{{ card_data }}
---

A video recognition model: [Video Transformer Network]({{ paper_url }}) or one of its baselines. `config.json`
holds the arguments of its constructor, the names of its classes, and mean and standard deviation of frames.

```python
import vtn

model = vtn.{{ architecture }}.from_pretrained("this folder, or this model's name on the hub")
logits = model(frames)  # (clips, 3, frames, height, width), normalised with model.frame_mean and frame_std
```

Or by `transformers`, from the file of a video to its classes:

```python
import vtn
from transformers import pipeline

classify = pipeline("video-classification", model="this folder, or this model's name on the hub")
print(classify("video.mp4"))
```
"""

DOWNLOAD_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")


class HubModel(
    PyTorchModelHubMixin,
    library_name="slowfast-vtn",
    paper_url=PAPER,
    license="apache-2.0",
    pipeline_tag="video-classification",
    model_card_template=CARD,
):
    """A model with ``save_pretrained(folder)``, ``from_pretrained(folder or name)``, ``push_to_hub(name)``.

    ``config.json`` holds the arguments of the constructor, one object per group, and besides them
    ``architecture``, the name of the class, and facts about the weights: ``class_names``, ``frame_mean``,
    ``frame_std``, ``evaluation`` (see :mod:`vtn.arguments.evaluation`), and ``weights_digest``, a hash that
    is compared when the folder is loaded. Folders from before the groups, with flat names of arguments, are
    loaded too.

    Attributes:
        arguments: the groups that the model was built from.
        class_names: names of the classes in their order; empty where they are not known.
        evaluation: config key -> value, the sampling of frames in tests; empty where it is not known.
    """

    arguments_type: ClassVar[type[ModelArguments]]
    arguments: ModelArguments
    class_names: tuple[str, ...] = ()
    evaluation: Mapping[str, Any] = MappingProxyType({})

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Creates the model without the mixin's record of arguments, which would copy a given backbone."""
        return super().__new__(cls)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Writes the folder, and pushes it to the hub with ``push_to_hub=True``.

        Args:
            save_directory: the folder; an earlier model in it is replaced.
            options: those of ``huggingface_hub.ModelHubMixin.save_pretrained``.

        Raises:
            ModelError: if ``config.json`` cannot describe an argument of the constructor, or if a constructor
                of the user's own takes others. Nothing is written.
            CheckpointError: if the weights cannot be written.
        """
        if not is_built_from_groups(self):
            name = type(self).__name__
            raise ModelError(
                f"{name} cannot be saved as a folder, since its constructor does not take the groups of "
                f"{self.arguments_type.__name__} as keyword arguments, as that of vtn.VTN does; "
                "torch.save(model.state_dict(), FILE) keeps the weights alone"
            )
        arguments_as_json(self.arguments)  # fails before the mixin deletes an earlier config.json
        config = Path(save_directory, CONFIG_NAME)
        earlier = config.read_text(encoding="utf-8") if config.is_file() else None
        try:
            return super().save_pretrained(save_directory, **options)
        except BaseException:
            if earlier is not None and not config.exists():  # the earlier model stays usable
                write_text(config, earlier)
            raise

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Returns the card; it names the class, since no other class loads the folder."""
        return super().generate_model_card(*args, **{"architecture": type(self).__name__, **kwargs})

    def _save_pretrained(self, save_directory: Path) -> None:
        write_folder(self, save_directory)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, *, reset_head: bool = False, **options: Any
    ) -> Self:
        """Returns the model of a folder or of the Hugging Face hub, in evaluation mode, on the CPU.

        Args:
            pretrained_model_name_or_path: the folder, or ``OWNER/NAME`` of the model on the hub.
            reset_head: leave the last layer as initialised where ``num_classes`` differs.
            options: arguments of the constructor, which replace those of the folder, such as ``num_classes``
                and ``backbone``; and how to download: ``revision``, ``cache_dir``, ``force_download``,
                ``local_files_only``, ``token``.

        Raises:
            CheckpointError: if the folder holds no model of this class, damaged or unsuitable weights, or a
                backbone that is looked up elsewhere and that ``backbone`` does not name.
            ModelError: for arguments that do not exist or do not fit.
            InputError: for a ``reset_head`` that is not True or False.
        """
        model_id = str(pretrained_model_name_or_path)
        download = {name: options.pop(name) for name in DOWNLOAD_OPTIONS if name in options}
        config = read_config(model_id, find_file(model_id, CONFIG_NAME, **download))
        if config.get("architecture", cls.__name__) != cls.__name__:
            raise CheckpointError(
                f"{model_id}: is a {config['architecture']}, not a {cls.__name__}; load it with "
                f"vtn.create_model, or {config['architecture']}.from_pretrained"
            )
        path = find_file(model_id, SAFETENSORS_SINGLE_FILE, **download)
        if missing := [name for name in NEEDED_ENTRIES if name not in config]:
            raise CheckpointError(f"{model_id}: {CONFIG_NAME} lacks {', '.join(missing)}; save it again")
        _check_facts(config, model_id)
        keys = ("frame_mean", "frame_std")
        normalization = [*read_normalization(config, keys, f"{model_id}: {CONFIG_NAME}")]
        described = read_arguments(cls.arguments_type, config, model_id)
        arguments = described.changed(options)
        name, args = arguments.backbone.name, arguments.backbone.args
        if isinstance(name, str):  # otherwise the user has given a network
            of_folder = args if args == described.backbone.args else {}
            check_backbone(name, of_folder, source=model_id, allowed=name if "backbone" in options else "")
        if "backbone" not in options:
            check_arguments(cls, described.without_weights(), count_safetensors(path), source=model_id)
        model: Any = cls(**arguments.without_weights().as_keywords())
        weights = read_checkpoint(path)
        adapted = load_weights(
            model,
            weights,
            source=str(path),
            reset_head=reset_head,
            reset_option="reset_head=True (by transformers: ignore_mismatched_sizes=True)",
        )
        model.frame_mean, model.frame_std = normalization
        model.evaluation = dict(config.get("evaluation", {}))
        if model.num_classes == config["num_classes"]:
            model.class_names = tuple(config["class_names"])
            if not adapted:
                # The model's own weights may have another dtype than those in the file.
                check_hash(model, config["weights_digest"], source=str(path), weights=weights)
        return model.eval()


def is_built_from_groups(model: HubModel) -> bool:
    """Returns whether the constructor takes the groups of arguments, by which a folder builds the model."""
    try:
        inspect.signature(type(model).__init__).bind(model, **model.arguments.as_keywords())
    except TypeError:
        return False
    return True


def find_registered_model(name: str, source: str) -> Any:
    """Returns what is registered as a model by the name that a file gives.

    Args:
        name: in the registry of models.
        source: of the name, for messages.

    Raises:
        CheckpointError: for a name that is not registered.
    """
    try:
        return MODEL_REGISTRY.get(name)
    except ConfigError as error:
        problem = error.problems[0] + ("" if error.problems[0].endswith("?") else ".")
        raise CheckpointError(
            f"{source}: {problem} If it is a model of your own, install its package, or give the file that "
            "registers it by --imports FILE (in Python: imports=[FILE], or import it first)"
        ) from error


def read_config(name: str | Path, path: Path) -> Mapping[str, Any]:
    """Returns the content of the ``config.json`` of a folder, or of a model of the hub.

    Raises:
        CheckpointError: for a file that does not exist or cannot be read.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        is_missing = isinstance(error, FileNotFoundError)
        problem = "" if is_missing else f" that can be read ({first_line(error)})"
        raise CheckpointError(
            f"{name}: has no {CONFIG_NAME}{problem}; give a folder that `vtn publish` wrote, or a checkpoint "
            "file"
        ) from error
    return content if isinstance(content, Mapping) else {}


def read_arguments(kind: type[ModelArguments], config: Mapping[str, Any], model_id: str) -> ModelArguments:
    """Returns the arguments in the content of ``config.json``, in groups or by flat names.

    Raises:
        CheckpointError: for arguments that do not exist, or have values of another kind.
    """
    values = {name: value for name, value in config.items() if name not in (*FACTS, *TRANSFORMERS_ENTRIES)}
    try:
        return kind().changed(values)
    except (ModelError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{model_id}: {CONFIG_NAME} was written by another version, or was changed: {error}"
        ) from error


def _check_facts(config: Mapping[str, Any], model_id: str) -> None:
    """Raises ``CheckpointError`` for facts about the weights that are of another kind."""
    names, evaluation = config["class_names"], config.get("evaluation", {})
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"{model_id}: {CONFIG_NAME}: class_names must be a list of texts; save it again"
        )
    if not isinstance(evaluation, Mapping):
        raise CheckpointError(f"{model_id}: {CONFIG_NAME}: evaluation must be an object; save it again")


def read_normalization(content: object, keys: tuple[str, str], source: str) -> Iterator[tuple[float, ...]]:
    """Yields mean and deviation of frames from two entries of a file.

    Raises:
        CheckpointError: unless each of them is three numbers.
    """
    for key in keys:
        found: Any = content.get(key) if isinstance(content, Mapping) else None
        is_list = isinstance(found, list | tuple) and all(isinstance(v, int | float) for v in found)
        if not is_list or len(found) != 3:
            raise CheckpointError(f"{source}: {key} must be three numbers; save it again, or correct it")
        yield tuple(found)


def check_hash(model: Any, expected: str, *, source: str, weights: Mapping[str, Tensor]) -> None:
    """Raises ``CheckpointError`` unless the weights of a file have the hash that was published with them."""
    found = weights_hash(model, weights)
    if found != expected:
        raise CheckpointError(
            f"{source} is damaged or was changed: the hash of its weights is {found}, the published one "
            f"{expected}; download it again"
        )
