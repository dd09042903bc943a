"""Rendezvous of the processes of a run: a store that all of them use, and a check that they fit together."""
