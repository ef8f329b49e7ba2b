"""The error of an exhaustive search that ends without an answer."""

from __future__ import annotations


class TooLargeError(Exception):
    """The search would take longer than it may; nothing is wrong with the table."""
