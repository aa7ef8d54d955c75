"""What a model looks up instead of computing it, torch-free: contexts, and the memory of a document."""
