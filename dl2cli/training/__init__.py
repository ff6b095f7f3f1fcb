"""Training: models, optimiser, schedules, the loop, checkpoints and the run log."""
