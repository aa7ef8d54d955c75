"""Checks of a packed model's language besides bits per byte: minimal pairs, last words, real words. No torch."""
