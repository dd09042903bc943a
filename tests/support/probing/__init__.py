"""Features for tests of the search on cached features."""
