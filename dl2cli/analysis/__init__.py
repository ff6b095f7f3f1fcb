"""What a dataset is made of: quality, sizes, colour statistics, fidelity per scan."""
