"""Video Transformer Network: any image backbone, a temporal encoder of linear cost, a small head.

The names in ``__init__.pyi`` are imported when they are first used, so that ``vtn.project`` can be imported
without torch. Where ``transformers`` is imported, before or afterwards, its Auto classes know the models of
this package.
"""

import lazy_loader

try:
    from slowfast import __version__ as __version__
except ImportError as error:
    raise ImportError(
        "the imported package slowfast is PySlowFast's, not slowfast-vtn's; use a separate environment for "
        "each of them"
    ) from error

from .transformers.registration import register_when_imported

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

register_when_imported()
