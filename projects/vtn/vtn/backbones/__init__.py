"""Where backbones come from: one module a source, and what all of them share."""
