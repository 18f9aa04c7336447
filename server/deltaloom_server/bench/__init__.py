"""Benchmarks: each module measures one thing, as `run(...) -> dict` for machines and `main` for people."""
