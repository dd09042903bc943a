"""Computation without gradients: logits, images per pass, folded layers, precision and compilation."""
