"""Many runs: plans, their execution, sweeps, and scores on other texts."""
