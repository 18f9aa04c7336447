"""What is asked of the model at a cursor, and what of its answer is shown."""
