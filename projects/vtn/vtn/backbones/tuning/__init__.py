"""Selection of the backbone parameters that are trained: freezing, LoRA, depths of layers."""
