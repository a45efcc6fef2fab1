"""Shared weights: every architecture of a space in one network, and what that says of each."""
