"""Many graphs, measured interleaved and gated: here, or by a device itself."""
