"""The state of a training on disk: written whole or not at all, read without executing it."""
