"""Clips: which moments a model sees, and the tensors made of them."""
