"""Bits per byte, baselines, intervals, the generation check, speed."""
