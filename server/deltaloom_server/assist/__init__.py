"""Asking the model in words: conversations, and the read-only tools that it may call in them."""
