"""Networks that others trained, as judges of a search."""
