"""Runtime: runs a bundle's slices on their backends."""
