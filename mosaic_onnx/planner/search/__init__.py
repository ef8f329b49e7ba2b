"""Local search: moves, incremental costs, merging, initial solutions."""
