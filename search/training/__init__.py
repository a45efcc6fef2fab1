"""How shared weights are trained, and what a run leaves on the disk."""
