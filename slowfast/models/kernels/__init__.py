"""Faster ways of computing what torch computes, where torch does not choose them by itself."""
