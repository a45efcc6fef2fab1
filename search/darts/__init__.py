"""DARTS: choices relaxed, under limits of latency."""
