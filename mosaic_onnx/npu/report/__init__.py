"""What people see of a map: tables, a roofline, a timeline of tiles."""
