"""The packed model as data: its closed set of operations, programs, tensors, and the file that holds them. No torch."""
