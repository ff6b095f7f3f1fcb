"""What the rows of a dataset add up to, in numbers and plots."""
