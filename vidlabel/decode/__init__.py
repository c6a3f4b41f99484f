"""Decoding in processes of its own, ahead of the model."""
