"""FlowOptimizer's comparison (TODAES 2022), emulated: the best dataflow of each operator against fixed ones.

``operators`` (what is compared), ``compare`` (searches on all cores, gains), ``report`` (text, plots), ``run`` (all).
"""
