"""Registration of the models of this package with the Auto classes of ``transformers``.

``transformers`` has no entry points for packages, and takes seconds to import, which ``import vtn`` must not.
So ``import vtn`` registers at once where ``transformers`` is already imported, and otherwise leaves a finder
that registers when ``transformers`` imports its Auto classes. Both orders of imports work.

Only the configuration is registered at that moment, since the rest of ``transformers`` is not complete then.
The first :class:`vtn.transformers.configuration.VTNConfig` that is created registers the model and its video
processor; the Auto classes create it before they look for either.

The classes are named by text, as in an entry point, since they are imported when they are needed only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pkgutil import resolve_name
from types import ModuleType

CONFIG = "vtn.transformers.configuration:VTNConfig"
MODEL = "vtn.transformers.modeling:VTNForVideoClassification"
PROCESSOR = "vtn.transformers.video_processing:VTNVideoProcessor"

_AUTO_CONFIG = "transformers.models.auto.configuration_auto"


def register_when_imported() -> None:
    """Registers the configuration now, or when ``transformers`` is imported; later calls change nothing."""
    if _AUTO_CONFIG in sys.modules:
        _register_config()
    elif not any(isinstance(finder, _AutoConfigFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AutoConfigFinder())


@cache
def register_model() -> None:
    """Registers the model, its video processor, and its name for the pipeline of video classification."""
    from transformers import AutoModelForVideoClassification, AutoVideoProcessor
    from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES

    config, model, processor = (resolve_name(name) for name in (CONFIG, MODEL, PROCESSOR))
    AutoModelForVideoClassification.register(config, model, exist_ok=True)
    AutoVideoProcessor.register(config, processor, exist_ok=True)
    # The pipeline compares the class with this list of names and logs an error for any other.
    MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES.setdefault(config.model_type, model.__name__)


def _register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    config = resolve_name(CONFIG)
    AutoConfig.register(config.model_type, config, exist_ok=True)


class _AutoConfigFinder(MetaPathFinder):
    """A finder that finds one module, by the other finders, and registers once it has been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the module's own spec with a loader that also registers; None for all other modules."""
        if fullname != _AUTO_CONFIG:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    """The loader of a module, with the registration after it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Returns what the module's own loader creates."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Executes the module, and registers."""
        self._loader.exec_module(module)
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        _register_config()
