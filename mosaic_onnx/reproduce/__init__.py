"""The paper's evaluation (section VI) on the simulated HiKey 970, as one call: ``run.reproduce``."""
