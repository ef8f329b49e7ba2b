"""A plan to look at: from a bundle, a plan or a profile to one self-contained page."""
