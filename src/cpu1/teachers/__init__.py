"""Teachers: what they expect byte by byte, their tokens summed up to bytes, and the cache of what they say."""
