"""Baselines that MOSAIC is compared with (section VI-A), as planner methods that any user can call by ``--method``."""
