"""Which parameters of a backbone are trained: freezing, LoRA, depths of layers."""
