"""Arguments of the models: groups of them as dataclasses, and their flat names."""
