"""The folder of a published model: its files, and the entries of its configuration."""
