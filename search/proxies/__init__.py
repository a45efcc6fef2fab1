"""Cheap settings of training, and which of them keep the ranking."""
