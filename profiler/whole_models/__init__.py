"""Finished models: latency, percentiles, load without a pause."""
