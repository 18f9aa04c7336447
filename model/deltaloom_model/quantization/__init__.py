"""Four-bit weights: the NF4 layout that bitsandbytes publishes, in plain torch."""
