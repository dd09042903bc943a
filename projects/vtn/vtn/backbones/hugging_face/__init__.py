"""Backbones from Hugging Face ``transformers``: image models and clip encoders."""
