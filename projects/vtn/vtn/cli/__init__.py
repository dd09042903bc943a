"""Command-line entry points of VTN, one file per command."""
