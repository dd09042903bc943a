"""Configurations: keys with defaults, loading with inheritance and overrides, and the check.

No module of this package imports torch. The names of ``__init__.pyi`` are imported when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
