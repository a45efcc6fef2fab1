"""Few-shot NAS: a supernet split into several."""
