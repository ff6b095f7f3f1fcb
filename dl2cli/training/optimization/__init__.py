"""One optimisation step: loss, precision, optimiser, and the learning rate."""
