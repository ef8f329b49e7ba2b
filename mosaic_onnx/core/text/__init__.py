"""Words for people: quantities with their units, hints for names that do not exist, text that is safe to print."""
