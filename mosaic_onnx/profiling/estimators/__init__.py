"""MOSAIC's estimators (section V-B): communication by regression, execution over levels, power by V²f."""
