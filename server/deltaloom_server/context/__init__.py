"""What stands in the context of one workspace: base, log and open file. Text and positions, never tokens."""
