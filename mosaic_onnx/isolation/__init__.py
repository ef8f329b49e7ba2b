"""Vendors' code in processes of its own: what crashes, hangs or fills memory there is a device's fault, not our end."""
