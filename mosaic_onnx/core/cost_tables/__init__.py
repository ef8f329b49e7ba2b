"""The cost table, the planner's only input: made from a profile, restricted, mixed, checked."""
