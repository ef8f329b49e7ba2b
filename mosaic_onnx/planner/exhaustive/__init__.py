"""Exact plans of small tables: every order, every slice, every feature of the profile format, every request."""
