"""NSGA-II and NSGA-III from pymoo (extra ``scenarios``) with our chromosomes and operators.

pymoo selects and ranks; what a chromosome is, how two are crossed and one mutated, and what it costs are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Floats, Ints
from mosaic_onnx.core.errors import UsageError

Cross = Callable[[Ints, Ints, np.random.Generator], tuple[Ints, Ints]]
Mutate = Callable[[Ints, np.random.Generator], Ints]
Evaluate = Callable[[Ints], Floats]
"""[population, genes] to [population, objectives]."""


def has_pymoo() -> bool:
    """Return whether pymoo is installed."""
    try:
        import pymoo  # noqa: F401
    except ImportError:
        return False
    return True


def evolve(
    start: Ints,
    objective_count: int,
    generation_count: int,
    evaluate: Evaluate,
    cross: Cross,
    mutate: Mutate,
    seed: int,
    go_on: Callable[[], bool] = lambda: True,
) -> tuple[Ints, Floats]:
    """Evolve a population; the chromosomes of its front and their objectives.

    Args:
        start: [population, genes] the first generation.
        objective_count: 2 takes NSGA-II, more NSGA-III.
        generation_count: after the first.
        evaluate: all objectives are made smaller.
        cross: two children of two parents.
        mutate: a changed chromosome.
        seed: of all draws.
        go_on: asked before each generation.

    Raises:
        UsageError: pymoo is not installed.
    """
    problem, algorithm = _set_up(start, objective_count, cross, mutate)
    algorithm.setup(problem, termination=("n_gen", generation_count + 1), seed=seed, verbose=False)
    while algorithm.has_next() and (algorithm.pop is None or go_on()):
        offspring = algorithm.ask()
        if offspring is None or not len(offspring):
            break
        offspring.set("F", evaluate(offspring.get("X").astype(np.int64)))
        for one in offspring:
            one.evaluated.update({"F", "G", "H"})
        algorithm.tell(infills=offspring)
    front = algorithm.opt
    return front.get("X").astype(np.int64), front.get("F")


def _set_up(start: Ints, objective_count: int, cross: Cross, mutate: Mutate) -> tuple[Any, Any]:
    """Return the problem as pymoo knows it, and the algorithm."""
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.algorithms.moo.nsga3 import NSGA3
        from pymoo.core.crossover import Crossover
        from pymoo.core.duplicate import DefaultDuplicateElimination
        from pymoo.core.mutation import Mutation
        from pymoo.core.problem import Problem
        from pymoo.util.ref_dirs import get_reference_directions
    except ImportError as error:
        raise UsageError("the genetic search needs pymoo", "pip install 'mosaic-onnx[scenarios]'") from error

    class OurCrossover(Crossover):  # type: ignore[misc]
        """Two parents, two children."""

        def __init__(self) -> None:
            super().__init__(2, 2, prob=0.9)

        def _do(
            self, problem: object, X: Any, *_: object, random_state: np.random.Generator, **__: object
        ) -> np.ndarray:
            pairs = [cross(X[0, k], X[1, k], random_state) for k in range(X.shape[1])]
            return np.array([[pair[c] for pair in pairs] for c in range(2)])

    class OurMutation(Mutation):  # type: ignore[misc]
        """Every child may change."""

        def _do(
            self, problem: object, X: Any, *_: object, random_state: np.random.Generator, **__: object
        ) -> np.ndarray:
            return np.array([mutate(row, random_state) for row in X])

    words: dict[str, Any] = {
        "pop_size": len(start),
        "sampling": start,
        "crossover": OurCrossover(),
        "mutation": OurMutation(),
        "eliminate_duplicates": DefaultDuplicateElimination(epsilon=0.5),
    }
    problem = Problem(n_var=start.shape[1], n_obj=objective_count, xl=0, xu=int(start.max(initial=1)) + 1, vtype=int)
    if objective_count <= 2:
        return problem, NSGA2(**words)
    partitions = 1
    while comb(objective_count + partitions, partitions + 1) <= len(start):
        partitions += 1
    directions = get_reference_directions("das-dennis", objective_count, n_partitions=partitions)
    return problem, NSGA3(ref_dirs=directions, **words)
