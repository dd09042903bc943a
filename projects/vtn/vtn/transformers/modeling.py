"""The models of this package as a model of ``transformers`` for video classification.

B clips, V views of each, T frames, H W pixels, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.modeling_utils import PreTrainedModel

from slowfast.errors import CheckpointError, InputError, first_line
from vtn.folder.entries import arguments_as_json
from vtn.folder.layout import write_folder
from vtn.folder.untrusted import check_backbone, count_safetensors
from vtn.predictor.source import check_model, find_model_class
from vtn.transformers.configuration import VTNConfig, take_arguments

_DOWNLOAD_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")
# Options of from_pretrained that do not matter to these models, or have been acted on by the Auto classes.
_WITHOUT_EFFECT = (
    *("trust_remote_code", "code_revision", "low_cpu_mem_usage", "use_safetensors", "weights_only"),
    *("_from_auto", "_from_pipeline", "_commit_hash"),
)
# Options of save_pretrained that do not matter to one file of weights, and those of the upload.
_OF_SHARDS = (
    "max_shard_size",
    "safe_serialization",
    "save_function",
    "save_original_format",
    "save_peft_format",
)
_OF_UPLOAD = (
    *("repo_id", "private", "token", "revision", "create_pr", "tags"),
    *("commit_message", "commit_description"),
)
_MULTI_LABEL = "multi_label_classification"
_LOGITS_ARE_SCORES = "regression"  # the problem type of MODEL.HEAD_ACT none, see vtn.folder.entries


class VTNForVideoClassification(PreTrainedModel):
    """A model of this package with the interface of ``transformers``; ``model.vtn`` is the model itself.

    Its folders are those of :class:`vtn.hub.HubModel`, in both directions. They are read by this package's
    own loader: damaged or unsuitable weights are an error, and nothing in a folder is looked up elsewhere.

    Args:
        config: the description of the model. Published weights of its backbone are loaded only where
            ``pretrained`` says so and the configuration was not read from a file.
        network: the model itself; None: a new one is built from ``config``.

    Attributes:
        vtn: a :class:`vtn.VTN`, :class:`vtn.FrameAverage`, :class:`vtn.AttentiveProbe`, or a model of the
            user's own that is registered in ``MODEL_REGISTRY``.

    Raises:
        ModelError, CheckpointError: for a model that cannot be built.

    >>> import torch
    >>> backbone = {"name": "shallow_conv", "pretrained": False}
    >>> config = VTNConfig(backbone=backbone, hidden_dim=32, num_heads=4, num_layers=1, num_labels=3)
    >>> model = VTNForVideoClassification(config).eval()
    >>> model(torch.zeros(2, 8, 3, 64, 64), labels=torch.tensor([0, 2])).logits.shape
    torch.Size([2, 3])
    """

    config_class = VTNConfig
    base_model_prefix = "vtn"
    main_input_name = "pixel_values_videos"
    supports_gradient_checkpointing = True

    def __init__(self, config: VTNConfig, network: Any = None) -> None:
        super().__init__(config)
        # transformers may be loading with "meta" as the default device, on which buffers have no values.
        with torch.device("cpu"):
            self.vtn = _build_network(config) if network is None else network
        config.arguments = arguments_as_json(self.vtn.arguments.without_weights())
        del config.arguments["num_classes"]
        if config.frame_mean is None or config.frame_std is None:
            config.frame_mean, config.frame_std = [*self.vtn.frame_mean], [*self.vtn.frame_std]
        self._describe_network()
        for module in self.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]  # keep the weights as they are
        self.register_load_state_dict_pre_hook(_accept_names_of_folder)
        self.post_init()

    @classmethod
    def from_vtn(cls, model: Any) -> Self:
        """Returns a model of this package as one of ``transformers``, with the same weights in memory.

        Raises:
            ModelError: for a backbone that was given as a module.
        """
        arguments = arguments_as_json(model.arguments.without_weights())
        config = VTNConfig(
            type(model).__name__,
            class_names=model.class_names,
            evaluation=model.evaluation,
            frame_mean=model.frame_mean,
            frame_std=model.frame_std,
            **arguments,
        )
        return cls(config, model)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *_: Any,
        config: VTNConfig | None = None,
        ignore_mismatched_sizes: bool = False,
        **options: Any,
    ) -> Self:
        """Returns the model of a folder, or of the Hugging Face hub, in evaluation mode.

        Args:
            pretrained_model_name_or_path: the folder, or the model's name on the hub.
            config: None: the folder's own.
            ignore_mismatched_sizes: leave the last layer as initialised where ``num_labels`` differs.
            options: ``dtype`` (by default that of the file), ``device_map`` with one device, ``num_labels``
                and other attributes of the configuration, arguments of the model, and how to download. A
                backbone that is described by another folder or a hub must be given by ``backbone``.

        Raises:
            CheckpointError: for a source that does not exist, is damaged, or must not be acted on.
            InputError: for options that this model does not have.
        """
        source = str(pretrained_model_name_or_path)
        download = {name: options.pop(name) for name in _DOWNLOAD_OPTIONS if name in options}
        if subfolder := options.pop("subfolder", ""):
            raise InputError(
                f"subfolder = {subfolder!r}: must be left out; give the path of the folder itself"
            )
        if config is None:
            config, options = VTNConfig.from_pretrained(
                source, return_unused_kwargs=True, **download, **options
            )
        placement = _take_placement(options, config)
        if (options.pop("adapter_kwargs", None) or {}).get("_adapter_model_path"):
            raise InputError(
                f"{source}: has adapters of PEFT; load the model, then peft.PeftModel.from_pretrained(model, "
                "the folder of the adapters)"
            )
        chosen = take_arguments(options)
        if options := {name: value for name, value in options.items() if name not in _WITHOUT_EFFECT}:
            raise InputError(
                f"{', '.join(options)}: VTNForVideoClassification.from_pretrained has no such option; leave "
                "it out, or give arguments of the model, dtype, device_map with one device, or num_labels"
            )
        for group, fields in chosen.items():
            config.arguments.setdefault(group, {}).update(fields)
        config.name_or_path = source
        backbone = chosen.get("backbone", {}).get("name", config.chosen_backbone)
        network = _load_network(config, source, download, backbone, reset_head=ignore_mismatched_sizes)
        return cls(config, network).to(**placement).eval()  # type: ignore[arg-type]

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        push_to_hub: bool = False,
        **options: Any,
    ) -> None:
        """Writes the folder that :meth:`vtn.hub.HubModel.save_pretrained` writes; with adapters, these alone.

        Args:
            save_directory: the folder; an earlier model in it is replaced.
            is_main_process: False: nothing is written.
            state_dict: weights in place of the model's own.
            push_to_hub: also upload the model, as ``repo_id`` in ``options``, or by the folder's name.
            options: of ``PushToHubMixin.push_to_hub``, such as ``private`` and ``commit_message``. Those of
                ``PreTrainedModel.save_pretrained`` about shards have no effect: the weights are one file.

        Raises:
            InputError: for options that this model does not have.
            CheckpointError: if the weights cannot be written.
        """
        folder = Path(save_directory)
        if getattr(self, "_hf_peft_config_loaded", False):
            super().save_pretrained(folder, is_main_process, state_dict, push_to_hub, **options)  # type: ignore[arg-type]
            return
        for name in ("variant", "distributed_checkpoint"):
            if options.pop(name, None):
                raise InputError(f"{name}: a folder of this model has one file of weights; leave it out")
        upload = {name: options.pop(name) for name in _OF_UPLOAD if name in options}
        if options := {name: value for name, value in options.items() if name not in _OF_SHARDS}:
            raise InputError(
                f"{', '.join(options)}: VTNForVideoClassification.save_pretrained has no such option; "
                f"leave it out, or give push_to_hub=True with {', '.join(_OF_UPLOAD)}"
            )
        if not is_main_process:
            return
        self._describe_network()
        if state_dict is not None:
            state_dict = {name.removeprefix("vtn."): weight for name, weight in state_dict.items()}
        write_folder(self.vtn, folder, weights=state_dict, problem_type=self.config.problem_type)
        if not (card := folder / "README.md").exists():
            self.vtn.generate_model_card().save(card)
        if push_to_hub:
            self.push_to_hub(**{"repo_id": folder.name, **upload})

    def forward(
        self,
        pixel_values_videos: Tensor | None = None,
        features: Tensor | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> ImageClassifierOutput:
        """Classifies frames, or features that were extracted earlier.

        Args:
            pixel_values_videos: normalised frames (B, T, 3, H, W) of a float dtype. Views (B, V, T, 3, H, W)
                of the same clips have the mean of their scores.
            features: (B, T, F) or (B, T, M, F) in place of frames, as ``model.vtn.encode_frames`` gives them.
            positions, mask: (B, T), see :meth:`vtn.VTN.forward`; with features :meth:`vtn.VTN.classify`.
            labels: classes (B,) int64, or (B, K) float: probabilities, or with the problem type
                ``multi_label_classification`` 0 or 1 for each class.

        Returns:
            ``logits`` (B, K), and ``loss`` where there are labels.

        Raises:
            InputError: for frames and features together, for neither, and for shapes that do not fit.
        """
        if (pixel_values_videos is None) == (features is None):
            raise InputError("pixel_values_videos, features: exactly one of the two must be given")
        if pixel_values_videos is None:
            logits = self.vtn.classify(features, positions, mask)
        else:
            logits = self._classify_frames(pixel_values_videos, positions, mask)
        loss = None if labels is None else self._loss(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)

    @property
    def is_activation_checkpointing(self) -> bool:
        """Whether the backward pass recomputes the backbone's activations."""
        return self.vtn.act_checkpoint

    is_gradient_checkpointing = is_activation_checkpointing

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Does nothing: a folder already names its classes, and needs no copy of this file."""

    def _classify_frames(self, frames: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
        if frames.ndim == 5:
            return self.vtn(frames.transpose(1, 2), positions, mask)  # (B, T, 3, H, W) -> (B, 3, T, H, W)
        if frames.ndim != 6:
            raise InputError(
                f"pixel_values_videos has shape {tuple(frames.shape)}: must be (clips, frames, 3, height, "
                "width)"
            )
        num_views = frames.shape[1]
        positions, mask = (
            None if each is None else each.repeat_interleave(num_views, dim=0) for each in (positions, mask)
        )
        logits = self.vtn(frames.flatten(0, 1).transpose(1, 2), positions, mask)
        return self._merge_views(logits.unflatten(0, (-1, num_views)))

    def _merge_views(self, logits: Tensor) -> Tensor:
        """Maps logits (B, V, K) to those (B, K) whose scores are the mean of the views' scores."""
        if self.config.problem_type == _MULTI_LABEL:
            # The logit of the mean; a score by itself would be 1 in float32 from logits of 17 on.
            return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)
        if self.config.problem_type == _LOGITS_ARE_SCORES:
            return logits.mean(1)
        return logits.log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type == _MULTI_LABEL:
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return F.cross_entropy(logits, labels.to(logits.dtype) if labels.is_floating_point() else labels)

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: modules initialise their weights when they are built."""

    def _set_gradient_checkpointing(self, enable: bool = True, *_: Any, **__: Any) -> None:
        self.vtn.act_checkpoint = enable

    def _describe_network(self) -> None:
        """Gives the network what the configuration says beside its arguments, for saved folders."""
        config = self.config
        self.vtn.class_names = config.class_names
        self.vtn.evaluation = dict(config.evaluation)
        self.vtn.frame_mean, self.vtn.frame_std = tuple(config.frame_mean), tuple(config.frame_std)


def _build_network(config: VTNConfig) -> Any:
    """Returns a new network.

    Raises:
        CheckpointError: for a class that is unknown, and for a backbone that a file must not choose.
    """
    source = config.name_or_path or "VTNConfig"
    model_class = find_model_class(config.architecture, source)
    arguments = model_class.arguments_type().changed({**config.arguments, "num_classes": config.num_classes})
    if isinstance(arguments.backbone.name, str) and arguments.backbone.name != config.chosen_backbone:
        check_backbone(arguments.backbone.name, arguments.backbone.args, source=source)
    return model_class(**arguments.as_keywords())


def _load_network(
    config: VTNConfig, source: str, download: Mapping[str, Any], backbone: str, *, reset_head: bool
) -> Any:
    """Returns the network of a folder or hub model with its weights.

    Args:
        backbone: name of the backbone that the user has chosen; empty: the file's own.
    """
    model_class = find_model_class(config.architecture, source)
    arguments = model_class.arguments_type().changed({**config.arguments, "num_classes": config.num_classes})
    path = Path(source, SAFETENSORS_SINGLE_FILE)
    if not Path(source).is_dir():
        try:
            path = Path(hf_hub_download(source, SAFETENSORS_SINGLE_FILE, **download))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{source}: the Hugging Face hub does not give its {SAFETENSORS_SINGLE_FILE}: "
                f"{first_line(error)}"
            ) from error
    check_model(model_class, arguments, count_safetensors(path), source, backbone)
    fields = arguments.without_weights().as_keywords()
    with torch.device("cpu"):
        return model_class.from_pretrained(source, reset_head=reset_head, **download, **fields)


def _take_placement(options: dict[str, Any], config: VTNConfig) -> dict[str, Any]:
    """Removes dtype and device from the options, and returns them as arguments of ``Module.to``.

    Raises:
        InputError: for several devices.
    """
    dtype = options.pop("torch_dtype", None)
    dtype = options.pop("dtype", None) or dtype
    if dtype in (None, "auto"):
        dtype = config.dtype
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype)
    device = options.pop("device_map", None)
    if isinstance(device, Mapping) and [*device] == [""]:
        device = device[""]
    if isinstance(device, Mapping) or device in ("auto", "balanced", "balanced_low_0", "sequential"):
        raise InputError(f"device_map = {device!r}: must be one device, such as cpu or cuda:0")
    placement = {"dtype": dtype, "device": device}
    return {name: value for name, value in placement.items() if value is not None}


def _accept_names_of_folder(model: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Renames weights from a folder, whose names do not begin with ``vtn.``, as the trainer loads them."""
    for name in [name for name in state_dict if name.startswith(prefix)]:
        own = name.removeprefix(prefix)
        if not own.startswith("vtn."):
            state_dict[f"{prefix}vtn.{own}"] = state_dict.pop(name)
