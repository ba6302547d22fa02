"""Metrics of a whole set against real pictures: no sample has a score of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evals.metrics import MetricUse, Record, load_metric
from evals.metrics.stats import Interval, Paired, Score, jackknife_ci, normal_test

NUM_GROUPS = 20
"""Of samples left out together for an interval: refitting without each sample would be slow."""


class DistanceUse(MetricUse):
    """A distance of the run's pictures from the frozen real ones; intervals leave prompts out."""

    def check_ready(self) -> None:
        super().check_ready()
        from evals.judge.reference import read_reference

        read_reference()

    def signature(self) -> str:
        from evals.judge.reference import reference_fingerprint

        return f"{super().signature()}|reference:{reference_fingerprint()}"

    def score(self, records: Sequence[Record]) -> Score:
        inputs = self.inputs(records)
        scored = {name: given["predictions"] for name, given in inputs.items() if given}
        distance = self._distance() if scored else lambda names: None
        value, interval = _with_interval(lambda names: distance([scored[n] for n in names]), scored)
        return self._as_score(value, interval, len(scored), len(inputs) - len(scored))

    def paired(
        self, a: Sequence[Record], b: Sequence[Record]
    ) -> tuple[float | None, float | None, Paired | None, int, int]:
        inputs_a, inputs_b = self.inputs(a), self.inputs(b)
        common = [name for name, given in inputs_a.items() if given and inputs_b.get(name)]
        left_out = len(inputs_a) - len(common)
        if not common:
            return None, None, None, 0, left_out
        distance = self._distance()

        def of(inputs: dict[str, Any], names: Sequence[str]) -> float | None:
            return distance([inputs[name]["predictions"] for name in names])

        def difference(names: Sequence[str]) -> float | None:
            first, second = of(inputs_a, names), of(inputs_b, names)
            return None if first is None or second is None else second - first

        value, interval = _with_interval(difference, common)
        paired = None if value is None else normal_test(value, interval)
        return of(inputs_a, common), of(inputs_b, common), paired, len(common), left_out

    def _distance(self) -> Callable[[list[str]], float | None]:
        from evals.judge.reference import read_reference

        metric, reference = load_metric(self.metric), read_reference()
        return lambda rows: metric.compute(predictions=rows, reference=reference)["value"]


def _with_interval(
    statistic: Callable[[Sequence[str]], float | None], samples: Any
) -> tuple[float | None, Interval | None]:
    """A statistic of all samples, and its jackknife interval."""
    names = list(samples)
    value = statistic(names) if names else None
    num_groups = min(NUM_GROUPS, len(names) // 2)
    if value is None or num_groups < 2:
        return value, None
    left_out = [
        statistic([name for place, name in enumerate(names) if place % num_groups != group])
        for group in range(num_groups)
    ]
    known = [part for part in left_out if part is not None]
    return value, jackknife_ci(value, known) if len(known) == num_groups else None
