"""Find the backends and devices of this machine, and select those that take part."""
