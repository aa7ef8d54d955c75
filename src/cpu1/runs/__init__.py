"""The run folder: what training writes and everything behind it reads."""
