"""The PCR format: scan scripts, records, index, convert, read, verify."""
