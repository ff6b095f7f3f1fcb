"""Writing the images of a dataset back as plain JPEG files."""
