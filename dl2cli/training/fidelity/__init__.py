"""Which scans a training loads, and when."""
