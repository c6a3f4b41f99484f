"""The page to look through labels and correct them."""
