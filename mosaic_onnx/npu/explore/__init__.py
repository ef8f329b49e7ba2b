"""Design an NPU: sweep its sizes, plan models on CPU and NPU for each, and keep what nothing beats.

``sweep`` (words to hardware), ``evaluate`` (one point), ``front`` (what nothing beats), ``explore`` (all points on all
cores), ``page`` (the report as one HTML file).
"""
