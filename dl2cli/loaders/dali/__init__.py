"""The loaders that decode with NVIDIA DALI."""
