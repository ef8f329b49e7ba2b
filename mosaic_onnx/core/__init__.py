"""Values that every room shares: devices, layers, profiles, cost tables, plans, constraints and errors."""
