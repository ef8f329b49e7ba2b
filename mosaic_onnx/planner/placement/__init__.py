"""Exact placements without slices: variable elimination and integer programs; prices on memory; fronts."""
