"""A schedule that runs: frames arrive by the wall clock, slices run on one worker a device, in the schedule's order.

``frame`` (what is known of one frame), ``model_runner`` (one model's slices, loaded once), ``server`` (arrivals, the
drop rule, changes while it runs), ``statistics`` (rates, latencies, misses, utilisation), ``perfetto`` (the trace),
``virtual`` (the same figures for simulated devices, by the simulator's clock).
"""
