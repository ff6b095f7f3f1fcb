"""`dl2 train`: its options, the run's folder, and what it shows."""
