"""Scores and baselines: plain arrays and AnnData in, numbers out; no torch."""
