"""The analysis process: everything that parses what stands in a workspace runs there, under limits."""
