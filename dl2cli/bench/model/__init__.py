"""The model of a training epoch, calibrated from what was measured, and what it predicts."""
