"""Number formats: how a network is put in one, and what that costs and gains."""
