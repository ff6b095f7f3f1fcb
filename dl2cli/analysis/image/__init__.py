"""What is found out about one image."""
