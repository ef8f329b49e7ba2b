"""Read and write files: profiles, plans, device descriptions, bundles and the measurement cache."""
