"""From ONNX models to one folder that serves a scenario.

``profiled`` (models profiled on the devices), ``slowdowns`` (how devices disturb each other), ``device_loop`` (search,
measure the slices that were chosen, search again), ``bundles`` (each model cut as the schedule says, proved),
``folder`` (the site on disk), ``serve`` (from the folder to a server).
"""
