"""What lies at a path, ImageFolders, the pixels of image files, importers, the sample set."""
