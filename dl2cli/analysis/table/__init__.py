"""The table of what was found: a row for each image, and its forms on disk."""
