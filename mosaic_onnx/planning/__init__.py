"""From a profile to the plan that is delivered: plans of profiles, what measured slices teach, plans against devices.

The planner knows cost tables only; this room stands between it and the profiles.
"""
