"""Probes of storage, decoding and compute, and the model of stalls."""
