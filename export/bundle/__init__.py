"""The directory that ships, and the files in it."""
