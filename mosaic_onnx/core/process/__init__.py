"""Processes and cores: pinning, the command of a child, the clock of its limit, its end with its parent."""
