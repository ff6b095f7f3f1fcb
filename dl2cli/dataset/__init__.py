"""ImageFolder discovery, class order, and the built-in sample set."""
