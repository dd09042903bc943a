"""Sections of the report about classes, calibration, mistakes and the order of frames."""
