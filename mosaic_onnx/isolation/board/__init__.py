"""Slices on another machine: a child there, started by the ssh client of the system, loads and runs them."""
