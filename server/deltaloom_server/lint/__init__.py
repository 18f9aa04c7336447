"""`deltaloom lint`: the language server without an editor; findings become a report and an exit status."""
