"""Descriptions of NPUs: what one can do and what it costs, read from ``npu.toml``; the shipped presets."""
