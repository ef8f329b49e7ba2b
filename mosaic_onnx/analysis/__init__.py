"""Explain plans, compare them, and say what would improve them."""
