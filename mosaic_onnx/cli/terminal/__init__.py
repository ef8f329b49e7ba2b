"""What the commands share of the terminal: progress, columns of tables, log lines, closed pipes."""
