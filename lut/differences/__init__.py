"""What changed between two tables, and which promises with it."""
