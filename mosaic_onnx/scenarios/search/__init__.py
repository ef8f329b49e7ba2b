"""The genetic search for a schedule (Puzzle's three chromosomes), seeded by exact plans and by every baseline.

``genome`` (what a chromosome is), ``repair`` (any chromosome to slices that can run), ``operators`` and ``nsga``
(NSGA-II/III from pymoo), ``moves`` (local moves on schedules), ``seeds`` (where the search starts), ``fitness`` and
``pool`` (evaluation: serial, in processes, on a Ray cluster), ``local_search``, ``genetic`` (the whole search),
``checkpoint`` (to go on later).
"""
