"""Operators as keys of a table, as graphs, as torch modules."""
