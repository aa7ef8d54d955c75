"""Judges text by how well a packed model predicts it: a calibrated figure, its worst passages, the better of two."""
