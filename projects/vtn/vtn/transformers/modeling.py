"""The models of this package as a model of ``transformers`` for video classification.

B clips, V views of each, T frames, H W pixels, M tokens of a frame, F width of a feature, K classes.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.utils.generic import can_return_tuple

from slowfast.errors import InputError
from vtn.folder.entries import arguments_as_json
from vtn.folder.layout import write_folder
from vtn.frame_model import FrameModel
from vtn.hub import DOWNLOAD_OPTIONS
from vtn.transformers.configuration import VTNConfig, take_arguments
from vtn.transformers.loading import accept_names_of_folder, build_network, load_network, take_placement
from vtn.transformers.scores import apply_own_activation, compute_loss, has_own_activation, merge_logits
from vtn.transformers.upload import CARD_NAME, take_upload_options, upload_model

# Options of from_pretrained that do not matter to these models, or have been acted on by the Auto classes.
_WITHOUT_EFFECT = (
    *("trust_remote_code", "code_revision", "low_cpu_mem_usage", "use_safetensors", "weights_only"),
    *("_from_auto", "_from_pipeline", "_commit_hash"),
)


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
            self.vtn = build_network(config) if network is None else network
        config.arguments = arguments_as_json(self.vtn.arguments.without_weights())
        del config.arguments["num_classes"]
        if config.frame_mean is None or config.frame_std is None:
            config.frame_mean, config.frame_std = [*self.vtn.frame_mean], [*self.vtn.frame_std]
        self._describe_network()
        for module in self.modules():
            module._is_hf_initialized = True  # type: ignore[assignment]  # keep the weights as they are
        self.register_load_state_dict_pre_hook(accept_names_of_folder)
        self.post_init()

    @classmethod
    def from_vtn(cls, model: Any) -> Self:
        """Returns a model of this package as one of ``transformers``, with the same weights in memory.

        Raises:
            ModelError, InputError: for a backbone that was given as a module, and for another object.
        """
        if not isinstance(model, FrameModel):
            raise InputError(f"model is a {type(model).__name__}: must be a model such as vtn.VTN")
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
        download = {name: options.pop(name) for name in DOWNLOAD_OPTIONS if name in options}
        if subfolder := options.pop("subfolder", ""):
            raise InputError(
                f"subfolder = {subfolder!r}: must be left out; give the path of the folder itself"
            )
        if config is None:
            config, options = VTNConfig.from_pretrained(
                source, return_unused_kwargs=True, **download, **options
            )
        config = copy.deepcopy(config)  # the caller's may be used for another model
        placement = take_placement(options, config)
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
        network = load_network(config, source, download, backbone, reset_head=ignore_mismatched_sizes)
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
        repo_id = options.pop("repo_id", folder.name)
        upload = take_upload_options(options, "save_pretrained", self.model_tags)
        if not is_main_process:
            return
        self._describe_network()
        if state_dict is not None:
            state_dict = {name.removeprefix("vtn."): weight for name, weight in state_dict.items()}
        write_folder(self.vtn, folder, weights=state_dict, problem_type=self.config.problem_type)
        has_card = (folder / CARD_NAME).exists()
        if not has_card:
            self.vtn.generate_model_card().save(folder / CARD_NAME)
        if push_to_hub:
            upload_model(folder, repo_id, replaces_card=has_card, **upload)

    def push_to_hub(self, repo_id: str, **options: Any) -> Any:  # type: ignore[override]
        """Uploads the folder that :meth:`save_pretrained` writes; with adapters, these alone.

        A model card that the repository has already is kept.

        Args:
            repo_id: name on the hub; the repository is created where it does not exist.
            options: of ``PushToHubMixin.push_to_hub``, such as ``private`` and ``commit_message``.

        Returns:
            The commit.

        Raises:
            InputError: for options that this model does not have.
        """
        if getattr(self, "_hf_peft_config_loaded", False):
            return super().push_to_hub(repo_id, **options)
        upload = take_upload_options(options, "push_to_hub", self.model_tags)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return upload_model(Path(folder), repo_id, replaces_card=False, **upload)

    @can_return_tuple
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
            ``logits`` (B, K), and ``loss`` where there are labels. In evaluation without labels, as in the
            pipeline, ``logits`` are scores where ``MODEL.HEAD_ACT`` is an activation of the user's own: the
            pipeline can only apply softmax and sigmoid.

        Raises:
            InputError: for frames and features together, for neither, and for shapes that do not fit.
            ConfigError: where the activation of the user's own is not registered.
        """
        if (pixel_values_videos is None) == (features is None):
            raise InputError("pixel_values_videos, features: exactly one of the two must be given")
        if pixel_values_videos is None:
            views = self.vtn.classify(features, positions, mask)[:, None]
        else:
            views = self._classify_frames(pixel_values_videos, positions, mask)
        if labels is None and not self.training and has_own_activation(self.config):
            return ImageClassifierOutput(logits=apply_own_activation(views, self.config))
        problem_type = self.config.problem_type
        logits = views[:, 0] if views.shape[1] == 1 else merge_logits(views, problem_type)
        loss = None if labels is None else compute_loss(logits, labels, problem_type)
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
        """Returns the logits (B, V, K) of frames (B, T, 3, H, W), V = 1, or of views (B, V, T, 3, H, W)."""
        if frames.ndim not in (5, 6):
            raise InputError(
                f"pixel_values_videos has shape {tuple(frames.shape)}: must be (clips, frames, 3, height, "
                "width)"
            )
        num_views = 1 if frames.ndim == 5 else frames.shape[1]
        clips = frames if frames.ndim == 5 else frames.flatten(0, 1)  # (B·V, T, 3, H, W)
        positions, mask = (
            None if each is None else each.repeat_interleave(num_views, dim=0) for each in (positions, mask)
        )
        logits: Tensor = self.vtn(clips.transpose(1, 2), positions, mask)  # (B·V, K)
        return logits.unflatten(0, (-1, num_views))

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
