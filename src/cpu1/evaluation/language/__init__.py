"""Checks of a packed model's language beyond bits per byte: minimal pairs, last words, real words. No torch."""
