"""Puzzle's evaluation (arXiv 2508.17764) on a described board: random scenarios of nine networks, every scheduler.

``random_scenarios`` (what is drawn), ``compare`` (schedulers on them, ratios with intervals), ``report`` (text and
plots), ``run`` (all of it).
"""
