"""Captioned previews, grids, sheets, optical flow and attention as pictures."""
