"""EcoNAS: search by levels of effort, and its rivals."""
