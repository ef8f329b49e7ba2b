"""Words for people: quantities with their units, hints for names that do not exist."""
