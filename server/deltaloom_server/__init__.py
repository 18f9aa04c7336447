"""The language server: text and positions. Knows nothing of tensors."""
