"""A video recognition framework in PySlowFast's manner: clips, models by name, loops.

Importing the package is cheap; heavy libraries are imported by the modules that use them.
"""

__version__ = "0.1.0"
