"""Command lines of modules that add their arguments to a parser."""

from __future__ import annotations

import argparse
from types import ModuleType


def parse(module: ModuleType, *given: str) -> argparse.Namespace:
    """Returns the arguments of ``module.add_arguments`` that a command line gives, and ``json``, None.

    The command ``benchmark`` adds ``--json`` itself.
    """
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(given, argparse.Namespace(json=None))
