"""Vendors' code in child processes: a crash, a hang or exhausted memory there does not end this process."""
