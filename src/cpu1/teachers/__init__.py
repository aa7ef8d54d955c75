"""Teachers of any kind, read as predictors of bytes, and the cache of what they say about a text."""
