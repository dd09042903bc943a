"""Filmstrips of wrong predictions as images of TensorBoard (``TENSORBOARD.WRONG_PRED_VIS``).

H W pixels.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slowfast.datasets.class_names import class_texts
from slowfast.datasets.text_files import read_text
from slowfast.engine.prediction_file import Predictions
from slowfast.log import get_logger
from slowfast.tracking.tensorboard import event_folder
from slowfast.visualization.filmstrip import try_frames
from slowfast.visualization.sections.mistakes import Mistake, surest_mistakes

logger = get_logger(__name__)

_CAPTION_HEIGHT = 20
_FONT_SIZE = 13


def build_wrong_predictions(cfg: CfgNode, predictions: Predictions) -> None:
    """Writes the filmstrips that the configuration asks for beside the curves of the run."""
    options = cfg.TENSORBOARD.WRONG_PRED_VIS
    folder = event_folder(cfg.OUTPUT_DIR, cfg.TENSORBOARD.LOG_DIR, cfg.TRAIN.DATASET)
    classes = None
    if options.SUBSET_PATH:
        classes = {line.strip() for line in read_text(options.SUBSET_PATH).splitlines() if line.strip()}
    count = write_wrong_predictions(
        predictions, folder, tag=options.TAG, count=options.MAX_VIDEOS, classes=classes
    )
    logger.info("test: %d filmstrips of wrong predictions are in %s", count, folder)


def write_wrong_predictions(
    predictions: Predictions,
    folder: str | Path,
    *,
    tag: str,
    count: int,
    classes: Collection[str] | None = None,
) -> int:
    """Writes a filmstrip with a caption for each of the surest wrong predictions.

    The images of a true class and a predicted class are steps of one tag. Videos that cannot be decoded are
    left out, and the log names them.

    Args:
        folder: of the event files.
        tag: beginning of the tags.
        count: largest number of filmstrips.
        classes: names of the true classes that are shown; None: all.

    Returns:
        The number of filmstrips.
    """
    from torch.utils.tensorboard import SummaryWriter

    if classes is not None and (unknown := sorted(set(classes) - set(predictions.class_names))):
        logger.warning(
            "TENSORBOARD.WRONG_PRED_VIS.SUBSET_PATH: %d of %d names are not those of classes, the first of "
            "them is %r; they are ignored",
            len(unknown),
            len(classes),
            unknown[0],
        )
    texts = dict(zip(predictions.class_names, class_texts(predictions.class_names), strict=True))
    steps: Counter[str] = Counter()
    with SummaryWriter(str(folder)) as writer:
        for mistake in surest_mistakes(predictions, len(predictions.paths)):
            if steps.total() == count:
                break
            if classes is not None and mistake.true not in classes:
                continue
            if (found := try_frames(mistake.video, mistake.segment)) is None:
                continue
            shown = replace(mistake, true=texts[mistake.true], predicted=texts[mistake.predicted])
            name = f"{tag}/true {shown.true}/predicted {shown.predicted}"
            writer.add_image(name, _captioned(found[0], shown), steps[name], dataformats="HWC")
            steps[name] += 1
    return steps.total()


def _captioned(strip: bytes, mistake: Mistake) -> NDArray[np.uint8]:
    """Returns an image (H, W, 3): a line with the video, the classes and their scores, and the filmstrip."""
    frames = Image.open(io.BytesIO(strip))
    text = (
        f"{mistake.name}: {mistake.predicted} {mistake.predicted_score:.3f}, "
        f"true {mistake.true} {mistake.true_score:.3f}"
    )
    font = ImageFont.load_default(size=_FONT_SIZE)
    width = max(frames.width, round(font.getlength(text)) + 8)
    image = Image.new("RGB", (width, frames.height + _CAPTION_HEIGHT), "white")
    ImageDraw.Draw(image).text((4, _CAPTION_HEIGHT / 2), text, fill="black", font=font, anchor="lm")
    image.paste(frames, (0, _CAPTION_HEIGHT))
    return np.asarray(image)
