"""What all planner methods share: the request, the simulator, transfers, memory, bounds, dominance."""
