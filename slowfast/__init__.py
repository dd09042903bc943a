"""A framework for video recognition that reads PySlowFast's configurations.

It has data sets of videos, a registry of models, and loops for training and testing. Importing the package is
cheap; heavy libraries are imported by the modules that use them.
"""

__version__ = "0.1.0"
