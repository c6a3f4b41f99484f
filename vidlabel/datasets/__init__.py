"""Labelled videos: public data sets, folders, tables, protocols and leaks."""
