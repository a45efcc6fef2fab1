"""What a space needs measured, and the tables made of it."""
