"""Training, from labelled videos to a checkpoint."""
