"""The scanners, each behind the same two words: a text in, a `ScanResult` out.

Invariant: a scanner reads no configuration of the tree that it scans and runs nothing that stands there.
"""
