"""Shared by all planner methods: the request, the simulator, transfers, memory, bounds, dominance."""
