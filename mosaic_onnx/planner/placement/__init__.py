"""Exact placements without slices: minimum cut, elimination, MILP and CP-SAT."""
