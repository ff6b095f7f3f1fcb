"""The loader that decodes with Pillow in torch's worker processes."""
