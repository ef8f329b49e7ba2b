"""Grouping nodes into layers: acyclic groups, and the patterns that runtimes fuse."""
