"""The models of this package as models of Hugging Face ``transformers``.

``import vtn`` is enough for the Auto classes and pipelines to accept a folder that ``vtn publish`` or
``save_pretrained`` wrote; see :mod:`vtn.transformers.registration`. The names in ``__init__.pyi`` are
imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
