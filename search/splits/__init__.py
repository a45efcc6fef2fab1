"""Parts of a space, and the supernet that routes to the child of each."""
