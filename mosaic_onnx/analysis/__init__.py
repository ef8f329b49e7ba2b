"""Explain plans, compare them, and find what would improve them."""
