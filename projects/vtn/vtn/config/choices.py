"""The values that keys of VTN choose from."""

from __future__ import annotations

POSITIONS = ("learned", "sinusoidal", "none")
POSITION_UNITS = ("frame", "second")
PROBE_POSITIONS = ("sinusoidal", "none")
# Pooling of many features into one: the class token, the mean, or a learned attention (MAP head).
POOLINGS = ("cls", "mean", "map")
FROZEN_DTYPES = ("bfloat16", "float16")
# The ways of several tokens per frame into the encoder, see vtn/encoder/fusion.py.
FUSIONS = ("concat", "attend", "sequence")
# The states that the head classifies, see vtn/encoder/pooling.py.
HEAD_POOLINGS = ("cls", "cls+mean+std")
MODEL_NAMES = ("VTN", "FrameAverage", "AttentiveProbe")
