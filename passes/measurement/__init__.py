"""Passes that find what layers, slices and transfers cost, and turn the profile into the planner's cost table."""
