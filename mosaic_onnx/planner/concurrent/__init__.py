"""Plans whose devices work side by side."""
