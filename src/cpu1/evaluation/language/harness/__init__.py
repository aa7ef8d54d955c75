"""lm-evaluation-harness with packed models: its model `cpu1`, and tasks that read local files. No torch."""
