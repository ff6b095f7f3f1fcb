"""PCR datasets from one place to another: copies, and conversions whose result goes to a store."""
