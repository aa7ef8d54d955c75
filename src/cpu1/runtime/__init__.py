"""Runs a packed model: native engine, numpy reference, sessions, sampling, archives. No torch."""
