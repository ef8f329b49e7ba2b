"""Simulate a schedule: a discrete-event simulation of periodic requests on the devices.

``arrivals`` (when frames come), ``slice_graph`` (what a frame of one model has to do under a schedule), ``events``
(the simulation), ``contention`` (slices that slow each other), ``late_binding`` (devices chosen while it runs),
``score`` (XRBench's), ``figures`` (makespans, misses, drops), ``multiplier`` (the least period multiplier).
"""
