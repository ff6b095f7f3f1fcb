"""Bytes by (name, offset, length): datasets in object stores and on web servers."""
