"""Whether a promise is kept, and who is told."""
