"""Experiments that answer a question with a number, each one command."""
