"""Descriptions of devices that ship with the package, as ``devices.toml`` files in this folder."""

from __future__ import annotations

from importlib import resources


def shipped_descriptions() -> tuple[str, ...]:
    """Return the names of the descriptions that ship with the package, such as ``hikey970``."""
    folder = resources.files(__name__)
    return tuple(sorted(each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml")))


def description_text(name: str) -> str:
    """Return the TOML text of a shipped description."""
    return resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
