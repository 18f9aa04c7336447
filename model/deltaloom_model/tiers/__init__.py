"""Where state is kept beside the memory the model runs in: pinned host memory, and the disk."""
