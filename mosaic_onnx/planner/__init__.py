"""Planner: from a cost table to a plan. Knows no ONNX, no device and no file; one module per method.

What to read first: ``request`` (what is asked, what a proposal is), ``simulate`` (the one judge), ``methods`` (the
table of methods) and ``solve`` (asks the methods, judges, keeps the best). The rest by theme:

* judging: ``movements`` (which copies are paid), ``memory`` (caps), ``concurrent`` (when things happen side by side),
  ``demands`` (what a request asks beyond the table), ``conflicts`` (why no plan exists);
* chains and single orders: ``algorithm1`` (the paper's), ``interval`` with ``chain``, ``chain_costs``,
  ``chain_front``, ``windows``; ``along`` and ``along_queue`` (any topological order); ``labels`` and ``label_state``
  (device caps, switches); ``orders`` (which orders to try);
* placements without slices, exact: ``placement``, ``mincut``, ``elimination``, ``linear``, ``cpsat_placement``,
  ``relaxation``, ``placement_front``, ``exact_placement``;
* sequential plans of graphs: ``sequential``, ``downsets`` (small graphs whole), ``starts``, ``moves`` with
  ``ledger``, ``bounds``, ``floors``, ``hull``, ``closers``, ``goal``, ``weights``; ``pareto`` and ``front``;
  ``error_budget``;
* devices side by side: ``listing`` (HEFT, PEFT), ``relisting``, ``merging``, ``tasks``, ``side_by_side``, ``spans``,
  ``span_search``, ``concurrent_model`` and ``concurrent_cpsat``, ``concurrent_bound``, ``area``, ``polish``;
* throughput: ``throughput``, ``ideals``, ``slice_chain``, ``units``, ``equal_devices``, ``pipeline_costs``,
  ``loads``, ``spread``, ``spread_cpsat``;
* what others do, for comparison: ``baselines``. ``solver`` is the door to OR-tools.
"""
