"""Writing of shards: which video goes into which archive, and the archives themselves."""
