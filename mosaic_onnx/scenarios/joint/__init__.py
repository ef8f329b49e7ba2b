"""Several models once, planned together: for one makespan, or for the sum of their latencies.

``merge`` (profiles to one profile), ``sum_latency`` (the search for the least sum), ``plan`` (both objectives, and the
plan file with its models).
"""
