"""Findings from scanners, and fixes for them that are offered only once they have been verified."""
