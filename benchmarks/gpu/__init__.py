"""Tests and short measurements on a GPU in one command, for whoever has one for ten minutes."""
