"""Passes that plan: under what the user allows, again with what was measured, within a budget of errors."""
