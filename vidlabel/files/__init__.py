"""Files: found, written as a whole, and locked."""
