"""The tables of a report, and their renderings as text."""
