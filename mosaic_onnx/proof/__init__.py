"""Proof that a partitioned model computes what the uncut one does."""
