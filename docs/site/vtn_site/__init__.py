"""The parts of the documentation site that are made of the repository's texts and sources."""
