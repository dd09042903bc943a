"""The configurations of the framework's own networks, as package data (``slowfast.configs``)."""
