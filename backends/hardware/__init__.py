"""The machine's hardware as the operating system describes it: CPU clusters, frequencies, energy counters."""
