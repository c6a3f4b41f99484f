"""One labelling run in several parts, on one machine or many, and their results joined."""
