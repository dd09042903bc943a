"""Models as folders that the Hugging Face hub understands: ``model.safetensors``, ``config.json``, a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from safetensors import SafetensorError
from safetensors.torch import save_file

from slowfast.checkpoint.storage import read_checkpoint
from slowfast.checkpoint.weights import load_weights
from slowfast.errors import CheckpointError, ModelError
from slowfast.files import atomic_write, write_text
from slowfast.models.build import weights_digest

PAPER = "https://arxiv.org/abs/2102.00719"
CARD = """---
{{ card_data }}
---

A video recognition model: [Video Transformer Network]({{ paper_url }}) or a baseline of it. `config.json`
says how it is built, the names of its classes, and mean and standard deviation of its frames.

```python
import vtn

model = vtn.{{ architecture }}.from_pretrained("this folder, or this model's name on the hub")
logits = model(frames)  # (clips, 3, frames, height, width), normalised with model.frame_mean and frame_std
```
"""


class HubModel(
    PyTorchModelHubMixin,
    library_name="slowfast-vtn",
    paper_url=PAPER,
    license="apache-2.0",
    pipeline_tag="video-classification",
    model_card_template=CARD,
):
    """``save_pretrained(folder)``, ``from_pretrained(folder or name on the hub)``, ``push_to_hub(name)``.

    ``config.json`` holds the arguments of the constructor, and beside them what the weights were trained
    with: ``class_names``, ``frame_mean``, ``frame_std``, and ``weights_digest``, which is checked on loading.

    Attributes:
        class_names: names of the classes in their order; empty where they are not known.
    """

    class_names: tuple[str, ...] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """The mixin notes the arguments; in place of one that is no plain value it notes the default."""
        model: Any = super().__new__(cls, *args, **kwargs)
        _, *names = cls._hub_mixin_init_parameters
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        model._not_described = tuple(name for name, value in given.items() if not cls._is_jsonable(value))
        return model

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """As the mixin's, which deletes an earlier ``config.json`` first.

        Raises:
            ModelError: where an argument of the constructor is none that ``config.json`` can describe.
            CheckpointError: where the weights cannot be written.
        """
        self._check_describable()
        return super().save_pretrained(save_directory, **options)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card names the class, since no other loads the folder."""
        return super().generate_model_card(*args, **{"architecture": type(self).__name__, **kwargs})

    def _check_describable(self) -> None:
        model: Any = self
        if "backbone" in model._not_described:
            raise ModelError(
                "the backbone was given as a module, which config.json cannot describe; register it in "
                "BACKBONE_REGISTRY and build the model with its name"
            )
        if model._not_described:
            raise ModelError(
                f"{', '.join(model._not_described)}: holds what config.json cannot describe; give plain "
                "values (numbers, texts, lists, mappings of texts to them), or register a backbone that "
                "needs no such argument in BACKBONE_REGISTRY and build the model with its name"
            )

    def _save_pretrained(self, save_directory: Path) -> None:
        model: Any = self
        weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
        metadata = {"format": "pt", "class_names": json.dumps(self.class_names)}
        path = save_directory / SAFETENSORS_SINGLE_FILE
        try:
            with atomic_write(path) as temporary:
                save_file(weights, temporary, metadata)
                temporary.chmod(0o644)  # safetensors lets nobody else read it
        except SafetensorError as error:  # which a full disk's error becomes
            raise CheckpointError(
                f"could not save {path}: {error}; make room or give another folder"
            ) from error
        content = {
            **model._hub_mixin_config,
            **{name: value for name, value in _WITHOUT_START.items() if name in model._hub_mixin_config},
            "architecture": type(self).__name__,
            "class_names": list(self.class_names),
            "frame_mean": list(model.frame_mean),
            "frame_std": list(model.frame_std),
            "weights_digest": weights_digest(model),
        }
        write_text(save_directory / CONFIG_NAME, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        config: dict[str, Any] | None = None,
        reset_head: bool = False,
        **options: Any,
    ) -> Self:
        """What ``from_pretrained`` does once it has read ``config.json``.

        Args:
            reset_head: leave a last layer of another ``num_classes`` as it was initialised.
            options: how to download, and arguments of the constructor.

        Raises:
            CheckpointError: where there is no model, its weights are damaged or do not fit.
        """
        download = {name: options.pop(name) for name in _DOWNLOAD_OPTIONS}
        if config is None:
            raise CheckpointError(f"{model_id}: has no {CONFIG_NAME}; give a folder or a model of the hub")
        if config.get("architecture", cls.__name__) != cls.__name__:
            raise CheckpointError(f"{model_id}: is a {config['architecture']}, not a {cls.__name__}")
        path = Path(model_id, SAFETENSORS_SINGLE_FILE)
        if not Path(model_id).is_dir():
            path = Path(hf_hub_download(model_id, SAFETENSORS_SINGLE_FILE, **download))
        known = cls._hub_mixin_init_parameters
        without_start = {name: value for name, value in _WITHOUT_START.items() if name in known}
        model: Any = cls(**{**options, **without_start})
        load_weights(model, read_checkpoint(path), source=str(path), reset_head=reset_head)
        model.frame_mean, model.frame_std = tuple(config["frame_mean"]), tuple(config["frame_std"])
        if model.num_classes == config["num_classes"]:
            model.class_names = tuple(config["class_names"])
            check_digest(model, config["weights_digest"], source=str(path))
        return model.eval()


# Arguments of the constructor by which no weights are loaded that would be replaced at once.
_WITHOUT_START = {"pretrained": False, "backbone_checkpoint": "", "encoder_checkpoint": ""}
_DOWNLOAD_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")


def check_digest(model: Any, expected: str, *, source: str) -> None:
    """Raises ``CheckpointError`` unless the model's weights are those that were published."""
    found = weights_digest(model)
    if found != expected:
        raise CheckpointError(
            f"{source} is damaged or was changed: its weights' digest is {found}, published was {expected}; "
            "fetch it again"
        )
