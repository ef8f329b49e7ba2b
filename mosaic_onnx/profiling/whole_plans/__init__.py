"""Run and time whole plans: in a child process where a device of theirs could take this one with it."""
