"""The published genetic search, as a baseline: FlowOptimizer's settings on this mapping space.

Population 10, 20 generations, mutation 0.1 (TODAES 2022): 200 evaluations. Its genes are an order of the tile loops, an
unrolling, a stationary operand, buffering and the trip count of each tile loop. Unlike the published one it is told
when tiles do not fit the buffer; it proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mosaic_onnx.core.errors import InfeasibleError
from mosaic_onnx.npu.costs.evaluate import Cost, Objective, evaluate
from mosaic_onnx.npu.costs.mapping import ORDERS, TILED, Mapping, Spatial, Stationary
from mosaic_onnx.npu.costs.on_chip import allowed_stationary
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.layers.nest import LoopNest
from mosaic_onnx.npu.search.certificate import Certificate
from mosaic_onnx.npu.search.exact import Found
from mosaic_onnx.npu.search.spatial import spatial_choices


@dataclass(frozen=True)
class GeneticSettings:
    """The search's settings; the defaults are the published ones."""

    population_count: int = 10
    generation_count: int = 20
    mutation_share: float = 0.1
    elite_count: int = 2


def genetic_mapping(
    nest: LoopNest,
    hardware: Hardware,
    objective: Objective = "latency",
    seed: int = 0,
    settings: GeneticSettings | None = None,
) -> Found:
    """Return the best mapping that the genetic search meets.

    Args:
        nest: the layer.
        hardware: the NPU.
        objective: what is made least.
        seed: of all draws.
        settings: population, generations, mutation.

    Raises:
        InfeasibleError: it met no mapping that fits the buffer.
    """
    search = _Evolution(nest, hardware, objective, np.random.default_rng(seed), settings or GeneticSettings())
    return search.run()


class _Evolution:
    """One run of the search."""

    def __init__(
        self,
        nest: LoopNest,
        hardware: Hardware,
        objective: Objective,
        draw: np.random.Generator,
        settings: GeneticSettings,
    ) -> None:
        self.nest, self.hardware, self.objective, self.draw, self.settings = nest, hardware, objective, draw, settings
        self.spatials = spatial_choices(nest, hardware.array)
        self.stationary = allowed_stationary(nest, hardware)
        modes = {"optional": (True, False), "always": (True,), "never": (False,)}
        self.modes = modes[hardware.buffer.double_buffering]
        self.best: tuple[float, Mapping, Cost] | None = None
        self.evaluated = self.unfit = 0

    def run(self) -> Found:
        """Evolve for the settings' generations."""
        population = [self._random() for _ in range(self.settings.population_count)]
        for _ in range(self.settings.generation_count):
            ranked = sorted(population, key=self._value)
            parents = ranked[: max(2, len(ranked) // 2)]
            children = [self._child(parents) for _ in range(len(population) - self.settings.elite_count)]
            population = ranked[: self.settings.elite_count] + children
        if self.best is None:
            raise InfeasibleError(
                f"{self.nest.name}: the genetic search met no tiles that fit {self.hardware.name}'s buffer in "
                f"{self.unfit} evaluations",
                "use --dataflow best, which knows the buffer",
            )
        _, mapping, cost = self.best
        return Found(mapping, cost, Certificate(self.evaluated, {"capacity": self.unfit}, None, None))

    def _value(self, mapping: Mapping) -> float:
        """Return the objective of a mapping; infinite where it does not fit."""
        try:
            cost = evaluate(self.nest, self.hardware, mapping)
        except InfeasibleError:
            self.unfit += 1
            return float("inf")
        self.evaluated += 1
        value = cost.value(self.objective)
        if self.best is None or value < self.best[0]:
            self.best = (value, mapping, cost)
        return value

    def _random(self) -> Mapping:
        """Return a mapping with every gene drawn."""
        return Mapping(
            self._spatial(),
            ORDERS[self.draw.integers(len(ORDERS))],
            {loop: self._tile(loop) for loop in TILED},
            self._kept(),
            self.modes[self.draw.integers(len(self.modes))],
        )

    def _child(self, parents: list[Mapping]) -> Mapping:
        """Return a mapping with each gene of one of two parents, some of them drawn anew."""
        one, other = (parents[self.draw.integers(len(parents))] for _ in range(2))

        def parent() -> Mapping:
            return one if self.draw.random() < 0.5 else other

        tiles = {loop: parent().tiles[loop] for loop in TILED}
        child = Mapping(parent().spatial, parent().order, tiles, parent().stationary, parent().double_buffered)
        return self._mutated(child)

    def _mutated(self, mapping: Mapping) -> Mapping:
        share = self.settings.mutation_share
        if self.draw.random() < share:
            mapping = replace(mapping, spatial=self._spatial())
        if self.draw.random() < share:
            mapping = replace(mapping, order=ORDERS[self.draw.integers(len(ORDERS))])
        if self.draw.random() < share:
            mapping = replace(mapping, stationary=self._kept())
        tiles = {loop: self._tile(loop) if self.draw.random() < share else tile for loop, tile in mapping.tiles.items()}
        return replace(mapping, tiles=tiles)

    def _spatial(self) -> Spatial:
        return self.spatials[self.draw.integers(len(self.spatials))]

    def _kept(self) -> Stationary:
        return self.stationary[self.draw.integers(len(self.stationary))]

    def _tile(self, loop: str) -> int:
        """Return a tile size, drawn log-uniformly so that small tiles are as likely as large ones."""
        whole = self.nest.trip(loop)
        return min(whole, max(1, round(float(whole ** self.draw.random()))))
