"""The terminal: progress, columns of tables, log lines, closed pipes."""
