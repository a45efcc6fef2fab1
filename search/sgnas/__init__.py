"""SGNAS: a generator that answers many limits at once."""
