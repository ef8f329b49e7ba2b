"""NSGA with our operators reaches what pymoo's own reach on pymoo's problems."""

from __future__ import annotations

import numpy as np
import pytest

from mosaic_onnx.core.cost_tables.costs import Floats, Ints
from mosaic_onnx.scenarios.search.nsga import evolve
from mosaic_onnx.scenarios.search.operators import exchange, flip_bits, order_crossover, redraw_run, swap_two

pytest.importorskip("pymoo")
GENERATIONS, POPULATION = 120, 80


def ours(problem: object, start: Ints, seed: int) -> Floats:
    """The front of our operators."""

    def evaluate(genes: Ints) -> Floats:
        return np.asarray(problem.evaluate(genes.astype(bool)))  # type: ignore[attr-defined]

    front = evolve(start, 2, GENERATIONS, evaluate, exchange, flip_bits, seed)[1]
    return front


def theirs(problem: object, start: Ints, seed: int) -> Floats:
    """The front of pymoo's own."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.operators.crossover.pntx import TwoPointCrossover
    from pymoo.operators.mutation.bitflip import BitflipMutation
    from pymoo.optimize import minimize

    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=start.astype(bool),
        crossover=TwoPointCrossover(),
        mutation=BitflipMutation(),
        eliminate_duplicates=True,
    )
    return np.asarray(minimize(problem, algorithm, ("n_gen", GENERATIONS + 1), seed=seed).F)


def hypervolume(problem: object, front: Floats) -> float:
    from pymoo.indicators.hv import HV

    ideal, nadir = problem.pareto_front().min(axis=0), problem.pareto_front().max(axis=0)  # type: ignore[attr-defined]
    return float(HV(ref_point=np.array([1.1, 1.1]))((front - ideal) / (nadir - ideal)))


@pytest.mark.slow
def test_on_zdt5_the_hypervolume_is_within_2_percent_of_pymoos() -> None:
    from pymoo.problems import get_problem

    problem = get_problem("zdt5")
    volumes = []
    for seed in range(5):
        start = np.random.default_rng(seed).integers(0, 2, (POPULATION, problem.n_var))
        volumes.append([hypervolume(problem, front(problem, start, seed)) for front in (ours, theirs)])
    mean_ours, mean_theirs = np.mean(volumes, axis=0)
    assert mean_ours >= 0.98 * mean_theirs


def test_more_than_two_objectives_take_nsga_3_and_spread_over_the_front() -> None:
    def evaluate(genes: Ints) -> Floats:  # no chromosome dominates another: the three add up to 12
        parts = genes.reshape(len(genes), 3, 4).sum(axis=2)
        return np.column_stack([parts[:, 0] + (12 - genes.sum(axis=1)), parts[:, 1], parts[:, 2]]).astype(float)

    start = np.random.default_rng(0).integers(0, 2, (24, 12))
    genes, front = evolve(start, 3, 40, evaluate, exchange, flip_bits, 0)
    assert evaluate(genes).tolist() == front.tolist()
    assert front.sum(axis=1).tolist() == [12.0] * len(front)
    assert front.min(axis=0).max() <= 6
    assert front.max(axis=0)[0] >= 11


def test_the_same_seed_evolves_the_same_front() -> None:
    def evaluate(genes: Ints) -> Floats:
        return np.column_stack([genes.sum(axis=1), (1 - genes).sum(axis=1)]).astype(float)

    start = np.random.default_rng(0).integers(0, 2, (12, 10))
    one, other = (evolve(start, 2, 10, evaluate, exchange, flip_bits, 7)[0] for _ in range(2))
    assert one.tolist() == other.tolist()


def test_children_hold_only_what_their_parents_hold() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        length = int(rng.integers(0, 9))
        one, other = np.zeros(length, dtype=np.int64), np.ones(length, dtype=np.int64)
        first, second = exchange(one, other, rng)
        assert (first + second == 1).all()
        order_1, order_2 = rng.permutation(length), rng.permutation(length)
        assert sorted(order_crossover(order_1, order_2, rng).tolist()) == list(range(length))
        assert sorted(swap_two(order_1, rng).tolist()) == list(range(length))
        if length:
            assert redraw_run(one, 3, rng).max() <= 2
