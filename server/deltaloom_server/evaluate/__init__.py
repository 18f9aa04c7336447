"""`deltaloom eval`: how many of the offered fixes are right, measured on cases with tests that run."""
