"""HMDB51 and UCF-101 from their official archives: downloaded, unpacked, checked."""
