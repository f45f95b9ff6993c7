"""Tuning on validation images: `python run.py -m search=src` (docs/search.md).

A study (`study`) holds trials; a trial (`trial`) is one point of the space (`space`), run with every seed of the search; the
sweeper (`sweeper`) is what Hydra calls.
"""
