"""Searchers that need nothing but scores."""
