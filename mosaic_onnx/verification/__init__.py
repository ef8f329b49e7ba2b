"""Verify that a partitioned model computes what the original model computes."""
