"""Lossy variants of an ImageFolder: JPEG, WebP and JPEG 2000 at chosen qualities, and subsets."""
