"""Rivals without a scheduler: each model has its own ONNX Runtime session, and the operating system decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from mosaic_onnx.scenarios.scenario import Group
from mosaic_onnx.scenarios.simulation.score import real_time_term


class OwnSessions:
    """One session and one thread a model; frames by period, a frame that has not begun when its successor comes is
    dropped."""

    def __init__(
        self, groups: Sequence[Group], paths: Mapping[str, Path], inputs: Mapping[str, Mapping[str, np.ndarray]]
    ):
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.groups, self.inputs = groups, inputs
        self.sessions = {
            name: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for name, path in paths.items()
        }

    def score(self, seconds: float, multiplier: float) -> float:
        """Serve for a while; return XRBench's score, time only."""
        scores: dict[str, float] = {}
        start = time.perf_counter() + 0.1

        def serve(name: str, period: float, deadline: float) -> None:
            terms, number = [], 0
            while number * period < seconds:
                arrival = start + number * period
                if (wait := arrival - time.perf_counter()) > 0:
                    time.sleep(wait)
                if time.perf_counter() >= arrival + period:  # its successor is there
                    terms.append(None)
                else:
                    self.sessions[name].run(None, dict(self.inputs[name]))
                    terms.append(time.perf_counter() - arrival - deadline)
                number += 1
            late = np.array([term for term in terms if term is not None])
            scores[name] = float(real_time_term(late).sum() / len(terms) * (len(late) / len(terms)))

        threads = [
            threading.Thread(
                target=serve,
                args=(f"{group.name}/{entry.name}", group.period_s * multiplier, group.deadline_s * multiplier),
            )
            for group in self.groups
            for entry in group.models
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 100.0 * float(np.mean(list(scores.values())))
