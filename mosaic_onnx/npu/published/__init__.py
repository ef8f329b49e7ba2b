"""Cost rules as others published them, kept apart from our model so that each can be checked row by row."""
