"""One module per command: options, one library call, the result."""
