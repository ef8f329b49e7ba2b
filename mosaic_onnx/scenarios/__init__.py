"""Scenarios: many models with periods and deadlines that share the devices of one machine.

What to read first: ``scenario`` (what is asked), ``instance`` (a scenario with the costs of its models), ``schedule``
(what is decided), ``simulation`` (the one evaluator of schedules). Then ``bound`` (what no schedule can beat),
``baselines`` (what others do), ``search`` (the genetic search seeded by exact plans), ``solve`` (one scheduler's
result with its figures), ``joint`` (several models once, for one makespan or the sum of their latencies).

Definitions and file forms: ``reference: several models on one machine``; docs/scenarios.md.
"""
