"""Videos: opened, indexed, decoded at given times, and written."""
