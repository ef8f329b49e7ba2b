"""How nodes become layers: groups that stay acyclic, and the patterns that belong together."""
