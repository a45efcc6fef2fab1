"""What the verbs do that train or search, from the run to the file of answers."""
