"""Model folders: their configuration, manifest, tensors and export.

Invariant: importing this package, `config`, `manifest` or `folder` never imports torch, so the server may
hash and inspect a model folder; only `weights` and `export` do.
"""
