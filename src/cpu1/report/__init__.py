"""Tables and comparisons as pure functions of run folders."""
