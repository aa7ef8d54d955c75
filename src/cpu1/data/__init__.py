"""Any text to cached, memory-mapped splits; order; BPE; mixtures. No torch."""
