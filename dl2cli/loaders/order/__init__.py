"""Which sample comes when: a function of seed, epoch, global batch and lanes, not a history."""
