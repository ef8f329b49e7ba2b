"""Crossover and mutation of chromosomes, on plain vectors."""

from __future__ import annotations

import numpy as np

from mosaic_onnx.core.cost_tables.costs import Ints
from mosaic_onnx.scenarios.search.genome import Genome

_WHOLE_MODEL = 0.5
"""The probability that a child takes a whole model from one parent."""
_MODEL_MUTATES = 0.5


def exchange(one: Ints, other: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return two children of a two-point crossover."""
    first, second = one.copy(), other.copy()
    if len(one) > 1:
        begin, end = np.sort(rng.integers(0, len(one) + 1, size=2))
        first[begin:end], second[begin:end] = other[begin:end], one[begin:end]
    return first, second


def order_crossover(one: Ints, other: Ints, rng: np.random.Generator) -> Ints:
    """Return a permutation that keeps a stretch of the first in place, the rest in the order of the second."""
    begin, end = np.sort(rng.integers(0, len(one) + 1, size=2))
    kept = set(one[begin:end].tolist())
    rest = np.array([item for item in other.tolist() if item not in kept], dtype=one.dtype)
    return np.concatenate([rest[:begin], one[begin:end], rest[begin:]])


def flip_bits(bits: Ints, rng: np.random.Generator, share: float | None = None) -> Ints:
    """Return each bit flipped with probability ``share``, by default so that one is on average."""
    if not len(bits):
        return bits
    return np.where(rng.random(len(bits)) < (share if share is not None else 1.0 / len(bits)), 1 - bits, bits)


def redraw_run(devices: Ints, device_count: int, rng: np.random.Generator) -> Ints:
    """Return a run of neighbouring layers given another device; its length is drawn evenly on a logarithmic scale."""
    length = max(1, round(float(len(devices)) ** rng.random()))
    begin = int(rng.integers(0, len(devices) - length + 1))
    drawn = devices.copy()
    drawn[begin : begin + length] = rng.integers(device_count)
    return drawn


def swap_two(order: Ints, rng: np.random.Generator) -> Ints:
    """Return two items of a permutation in each other's place."""
    if len(order) < 2:
        return order
    swapped = order.copy()
    one, other = rng.choice(len(order), size=2, replace=False)
    swapped[[one, other]] = order[[other, one]]
    return swapped


def cross(genome: Genome, one: Ints, other: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return two children: each model whole from one parent, or mixed; orders crossed."""
    pairs: list[list[tuple[Ints, Ints]]] = [[], []]
    parts = zip(_model_parts(genome, one), _model_parts(genome, other), strict=True)
    for (cuts_1, devices_1), (cuts_2, devices_2) in parts:
        if rng.random() < _WHOLE_MODEL:
            children = ((cuts_1, cuts_2), (devices_1, devices_2))
            if rng.random() < 0.5:
                children = ((cuts_2, cuts_1), (devices_2, devices_1))
        else:
            children = (exchange(cuts_1, cuts_2, rng), exchange(devices_1, devices_2, rng))
        pairs[0].append(children[0])
        pairs[1].append(children[1])
    order_1, order_2 = _order(genome, one), _order(genome, other)
    orders = order_crossover(order_1, order_2, rng), order_crossover(order_2, order_1, rng)
    first, second = (
        np.concatenate([*(cuts[c] for cuts in pairs[0]), *(devices[c] for devices in pairs[1]), orders[c]])
        for c in range(2)
    )
    return first, second


def mutate(genome: Genome, genes: Ints, rng: np.random.Generator) -> Ints:
    """Return a chromosome with some models' cuts and devices changed, and now and then two priorities swapped."""
    device_count = len(genome.instance.table.device_names)
    all_cuts, all_devices = [], []
    for cuts, devices in _model_parts(genome, genes):
        changes = rng.random() < _MODEL_MUTATES
        all_cuts.append(flip_bits(cuts, rng) if changes else cuts)
        all_devices.append(redraw_run(devices, device_count, rng) if changes else devices)
    order = _order(genome, genes)
    return np.concatenate([*all_cuts, *all_devices, swap_two(order, rng) if rng.random() < 0.3 else order])


def _model_parts(genome: Genome, genes: Ints) -> list[tuple[Ints, Ints]]:
    """Return [M] (cut bits, devices)."""
    cuts = [part.astype(np.int64) for part in genome.cuts(genes)]
    return list(zip(cuts, genome.devices(genes), strict=True))


def _order(genome: Genome, genes: Ints) -> Ints:
    return genes[genome.cut_count + genome.layer_count :]
