"""Exact frames of a video file or of a folder of images; independent of data sets and models.

``open_video``, ``decode`` and ``stream`` are the public functions; ``OpenVideo`` is the protocol of what
``open_video`` returns. They are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
