"""Descriptions of devices that ship with the package."""
