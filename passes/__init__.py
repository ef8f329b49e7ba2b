"""Passes: one a file; a pass is a frozen dataclass whose fields are its options, called with the work so far."""
