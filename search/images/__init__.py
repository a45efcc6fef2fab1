"""Images in fixed splits: where they come from, how they are read and varied."""
