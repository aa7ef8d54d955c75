"""Collections of texts too large for one process: bits per byte of each, in buckets of quality, and filters by them."""
