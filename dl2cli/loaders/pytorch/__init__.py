"""The loader of torch's worker processes and Pillow."""
