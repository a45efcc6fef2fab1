"""GreedyNAS: paths drawn from the promising ones."""
