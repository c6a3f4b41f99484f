"""What this machine has, and whether a data set is complete."""
