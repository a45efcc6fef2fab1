"""Tables of others, and for others: written and read."""
