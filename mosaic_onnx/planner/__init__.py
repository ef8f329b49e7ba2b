"""Planner: from a cost table to a plan. Knows no ONNX, no device and no file.

Read first: ``core.request`` (the request and the proposal), ``core.simulate`` (the one judge), ``registry`` (the table
of methods) and ``solve`` (asks the methods, judges, keeps the best). The rooms import one way:

    core <- chain, search <- placement, throughput <- sequential <- concurrent <- solve

``baselines`` holds what others do, for comparison.
"""
