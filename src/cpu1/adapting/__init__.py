"""Makes a model of one's own from a text: by reading it, which needs no torch, or by training on it."""
