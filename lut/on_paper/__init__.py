"""Tables that nobody measured."""
