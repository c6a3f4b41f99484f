"""Formats of timelines: labelled segments as other programs read them."""
