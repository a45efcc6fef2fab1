"""One network alone, trained from scratch."""
