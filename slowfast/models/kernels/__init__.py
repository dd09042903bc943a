"""Faster ways of computing what torch computes, exact or in the same precision."""
