"""A table on the disk."""
