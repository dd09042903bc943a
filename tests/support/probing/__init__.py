"""Features for tests of the search on cached features, and searches of little work."""
