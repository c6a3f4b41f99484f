"""Sort videos into a folder for each class."""
