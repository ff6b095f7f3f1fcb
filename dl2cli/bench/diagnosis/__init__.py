"""What the measured runs mean: stalls, the bottleneck, and what to change."""
