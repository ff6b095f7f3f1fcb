"""What images keep at each number of scan groups."""
