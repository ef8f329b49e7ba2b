"""Show a map to people: tables, a roofline, a timeline of tiles."""
