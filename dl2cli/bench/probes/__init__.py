"""Runs of the real thing: loaders, training steps, and both together."""
