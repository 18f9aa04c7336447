"""The operators the forward pass is made of, each a torch reference that a faster kernel must equal."""
