"""Feature maps of backbones, and the tokens that are averaged from them."""
