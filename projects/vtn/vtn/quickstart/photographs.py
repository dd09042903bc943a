"""Photographs that installed packages contain, divided among the splits."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from PIL import Image

from slowfast.errors import DataError

# Longest side in pixels of a loaded photograph: larger than every clip.
LONGEST_SIDE = 512

# Name of a photograph -> package that contains it, and path inside the package.
_FILES: dict[str, tuple[str, str]] = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "brick": ("skimage", "data/brick.png"),
    "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "coins": ("skimage", "data/coins.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "grass": ("skimage", "data/grass.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "hubble_deep_field": ("skimage", "data/hubble_deep_field.jpg"),
    "ihc": ("skimage", "data/ihc.png"),
    "moon": ("skimage", "data/moon.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "text": ("skimage", "data/text.png"),
}

# No photograph is used in two splits, neither as a background nor as an object.
PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    "train": (
        "astronaut", "brick", "camera", "china", "coins", "hubble_deep_field", "ihc", "moon", "motorcycle",
        "retina", "text",
    ),
    "val": ("flower", "grace_hopper", "grass"),
    "test": ("chelsea", "coffee", "gravel", "rocket"),
}  # fmt: skip


def photograph_path(name: str) -> Path:
    """Returns the file of a photograph, without importing the package that contains it.

    Raises:
        DataError: where the package or the photograph is missing.
    """
    package, inside = _FILES[name]
    spec = importlib.util.find_spec(package)
    locations = list(spec.submodule_search_locations or []) if spec else []
    for location in locations:
        if (path := Path(location) / inside).is_file():
            return path
    raise DataError(
        f"the photograph {inside} of the package {package} is missing; the quickstart makes its videos from "
        "photographs in scikit-image, scikit-learn and matplotlib: install them with "
        "pip install 'slowfast-vtn[quickstart]'"
    )


@cache
def load_photograph(name: str) -> Image.Image:
    """Returns a photograph as an RGB image whose longer side has at most ``LONGEST_SIDE`` pixels.

    Raises:
        DataError: where the package or the photograph is missing.
    """
    image = Image.open(photograph_path(name)).convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return image
