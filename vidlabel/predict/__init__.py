"""Labelling: batches from many videos through a network, and a run that survives anything."""
