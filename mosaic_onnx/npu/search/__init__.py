"""Finding a mapping: the exact search with its certificate, fixed dataflows, the published genetic search."""
