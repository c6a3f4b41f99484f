"""Clips: the times at which a model sees a video, and the tensors made of the frames."""
