"""Many runs together: train what is missing, read the run folders, compare, and lay out the card."""
