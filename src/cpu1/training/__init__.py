"""One training run: settings, loop, optimiser, guards, checkpoints, groups of processes."""
