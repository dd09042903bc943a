"""The fast computation of features without gradients: precision, images per pass, folding, compilation."""
