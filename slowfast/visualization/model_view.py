"""Frames of test videos, and a model's attention to them, as figures of TensorBoard.

T frames or time steps of a view, L layers, N heads, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from numpy.typing import NDArray

from slowfast.datasets.class_names import class_text
from slowfast.datasets.clip import Clip, Normalization
from slowfast.datasets.video_dataset import ViewDataset
from slowfast.datasets.views.sampling import evenly_spaced
from slowfast.errors import NotFiniteError
from slowfast.log import get_logger
from slowfast.models.capabilities import AttendsFrames, clip_grid_of
from slowfast.models.frame_format import frame_normalization
from slowfast.models.score_activations import SCORE_ACTIVATION_REGISTRY
from slowfast.tracking.figure_text import as_figure_text, figure_fonts
from slowfast.tracking.tensorboard import event_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = get_logger(__name__)

_STRIP_FRAMES = 12


def build_model_view(
    cfg: CfgNode, model: Any, dataset: ViewDataset, class_names: Sequence[str], device: torch.device
) -> None:
    """Writes a figure for each of the first videos of the test split, as ``TENSORBOARD.MODEL_VIS`` asks for.

    Args:
        model: the tested model, on ``device``.
        dataset: of the test split; the first view of each video is shown.
        class_names: K names.
    """
    from torch.utils.tensorboard import SummaryWriter

    options = cfg.TENSORBOARD.MODEL_VIS
    if not (options.INPUT_VIDEO or isinstance(model, AttendsFrames)):
        logger.warning(
            "TENSORBOARD.MODEL_VIS: %s has no attention to frames, so there is nothing to show; set "
            "TENSORBOARD.MODEL_VIS.INPUT_VIDEO True to see its frames",
            cfg.MODEL.MODEL_NAME,
        )
        return
    normalization = frame_normalization(cfg, model)
    activation = SCORE_ACTIVATION_REGISTRY.get(cfg.MODEL.HEAD_ACT)
    folder = event_folder(cfg.OUTPUT_DIR, cfg.TENSORBOARD.LOG_DIR, cfg.TRAIN.DATASET)
    count = 0
    with SummaryWriter(str(folder)) as writer:
        for video in range(min(options.MAX_VIDEOS, dataset.num_videos)):
            clip, path = dataset[video * dataset.num_views], dataset.paths[video]
            if not isinstance(clip, Clip):  # broken, or too long to be in memory
                logger.warning("TENSORBOARD.MODEL_VIS: %s is left out, since it is broken or too long", path)
                continue
            try:
                logits, attention = look_at(model, clip, normalization, device)
            except NotFiniteError as error:
                logger.warning("TENSORBOARD.MODEL_VIS: %s is left out: %s", path, error)
                continue
            scores = activation(logits[None])[0].cpu().numpy()
            order = np.argsort(-scores, kind="stable")[: options.TOPK_PREDS]
            best = ", ".join(f"{class_text(class_names[k], int(k))} {scores[k]:.3f}" for k in order)
            frames = clip.frames.permute(1, 2, 3, 0).byte().numpy() if options.INPUT_VIDEO else None
            if frames is not None and cfg.DATA.REVERSE_INPUT_CHANNEL:
                frames = frames[..., ::-1]
            with figure_fonts():
                figure = draw_model_view(f"{Path(path).name}: {best}", frames, attention)
                writer.add_figure("Model Visualization", figure, video)
            count += 1
    logger.info("test: figures of %d videos are in %s", count, folder)


@torch.no_grad()
def look_at(
    model: Any, clip: Clip, normalization: Normalization, device: torch.device
) -> tuple[torch.Tensor, NDArray[np.float32] | None]:
    """Returns the logits (K,) of a view, and the attention (L, N, T) to its frames; None for models without.

    Args:
        normalization: of the frames.
    """
    model.eval()
    batch = Clip.collate([clip]).to(device)
    inputs = batch.inputs(normalization)
    if not isinstance(model, AttendsFrames):
        return model(inputs, batch.positions, None)[0].float(), None
    positions, grid = batch.positions, clip_grid_of(model)
    if grid is not None:
        positions = grid.step_positions(positions, None, inputs.shape[2])
    features = model.encode_frames(inputs)
    weights = model.frame_attention(features, positions, None)[:, 0].float()  # (L, N, T) or (L, N, T, M)
    if weights.ndim == 4:
        weights = weights.sum(-1)
    return model.classify(features, positions, None)[0].float(), weights.cpu().numpy()


def draw_model_view(
    title: str, frames: NDArray[np.uint8] | None, attention: NDArray[np.float32] | None
) -> Figure:
    """Draws frames (T, H, W, 3) side by side, and below them the attention (L, N, T), a row for each head."""
    from matplotlib.figure import Figure

    parts = [part for part in (frames, attention) if part is not None]
    figure = Figure(figsize=(11, 1 + 1.6 * len(parts)), layout="constrained")
    rows = figure.add_gridspec(len(parts), 1)
    figure.suptitle(as_figure_text(title), fontsize=11)
    if frames is not None:
        axes = figure.add_subplot(rows[0])
        shown = evenly_spaced(len(frames), _STRIP_FRAMES)
        axes.imshow(np.concatenate(list(frames[shown]), axis=1))
        width = frames.shape[2]
        axes.set_xticks([(number + 0.5) * width for number in range(len(shown))], [str(t) for t in shown])
        axes.set_yticks([])
    if attention is not None:
        L, N, T = attention.shape
        axes = figure.add_subplot(rows[-1])
        image = axes.imshow(
            attention.reshape(L * N, T), aspect="auto", cmap="Blues", interpolation="nearest", vmin=0
        )
        axes.set_yticks([(layer + 0.5) * N - 0.5 for layer in range(L)], [f"layer {n + 1}" for n in range(L)])
        axes.set_title(f"attention of the classification token, one row for each of {N} heads", fontsize=9)
        figure.colorbar(image, ax=axes)
    return figure
