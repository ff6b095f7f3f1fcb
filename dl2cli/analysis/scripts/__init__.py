"""Scan scripts that suit a dataset: measured on a sample of it, and searched for."""
