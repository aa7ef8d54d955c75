"""A run's metrics in trackers: what `--track` asks for. `metrics.jsonl` is the truth, and trackers follow it."""
