"""One file per LSP method or family. Only synchronous handlers change the session."""
