"""Run logs become tables, plots and one HTML page."""
