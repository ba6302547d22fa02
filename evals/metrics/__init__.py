"""Metrics as `evaluate` modules, loaded from this folder, offline.

A module's `compute` returns `{"value": ..., "per_sample": [...]}`: the number for the whole
set, and for each sample the parts from which the number is made again for the bootstrap. How
the parts combine is the module's class attribute `aggregate`, a name in `stats.AGGREGATES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from evals.metrics.stats import (
    AGGREGATES,
    Interval,
    Paired,
    Score,
    bootstrap_ci,
    paired_test,
    summed_by_cluster,
)
from mtgen.errors import MtgenError, UnknownNameError

FOLDER = Path(__file__).parent

Record = Mapping[str, Any]
"""One sample with its answer: the fields of `evals.runner.records.Record`."""


@cache
def load_metric(name: str) -> Any:
    """An `evaluate` module of this folder.

    Raises:
        UnknownNameError: no such module.
    """
    if name not in EXTRACT:
        raise UnknownNameError("metric", name, EXTRACT)
    import evaluate

    return evaluate.load(str(FOLDER / f"{name}.py"), keep_in_memory=True)


def _text(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    return None if record["output"] is None else {"predictions": record["output"]}


def _checked(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if not record["sample"].get("checks") or record["output"] is None:
        return None
    checks = json.dumps(record["sample"]["checks"])
    return {"predictions": record["output"], "references": checks}


def _answered(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if not record["sample"].get("answers") or record["output"] is None:
        return None
    return {"predictions": record["output"], "references": json.dumps(record["sample"]["answers"])}


def _likelihood(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if record["nll"] is None:
        return None
    return {"predictions": record["nll"], "references": record["num_tokens"]}


def _options(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if record.get("option_nlls") is None:
        return None
    asked = {name: record["sample"][name] for name in ("options", "answer", "share")}
    return {"predictions": json.dumps(record["option_nlls"]), "references": json.dumps(asked)}


def _timing(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    value = record.get(options["of"])
    return None if value is None else {"predictions": value}


def _similarities(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if not record.get("images"):
        return None
    from evals.judge.scoring import similarities

    return {"predictions": json.dumps(similarities(record, options.get("lang")))}


def _two_languages(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if not record.get("images"):
        return None
    from evals.judge.scoring import similarities

    own, english = (similarities(record, lang) for lang in (options["lang"], "en"))
    return {"predictions": json.dumps(own), "references": json.dumps(english)}


def _scene(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if not record.get("images"):
        return None
    from evals.judge.scoring import found_things

    wanted = json.dumps(record["sample"]["wanted"])
    return {"predictions": json.dumps(found_things(record)), "references": wanted}


def _embedded(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if not record.get("images"):
        return None
    from evals.judge.scoring import scaled, vectors

    return {"predictions": json.dumps([scaled(row).tolist() for row in vectors(record)])}


def _people(record: Record, options: Mapping[str, Any]) -> list[str | None] | None:
    """What each picture is read as; None where it cannot be."""
    if not record.get("images"):
        return None
    from evals.judge.people import SHOWN
    from evals.judge.scoring import people

    read = people(record)
    if options["of"] == "skin":
        return [person.skin for person in read]
    known = [person.shown if person.shown in SHOWN[:-1] else None for person in read]
    if options["of"] == "anybody":
        return ["somebody" if name else "nobody" for name in known]
    return known


def _groups_read(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    read = _people(record, options)
    return None if read is None else {"predictions": json.dumps(read)}


def _balanced(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if (given := _groups_read(record, options)) is None:
        return None
    from evals.judge.people import SHOWN, SKINS

    groups = SKINS if options["of"] == "skin" else SHOWN[:-1]
    return given | {"references": json.dumps(groups)}


def _translated(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if record["output"] is None or not record["sample"]["references"]:
        return None
    references = json.dumps(record["sample"]["references"])
    return {"predictions": record["output"], "references": references}


def _to_keep(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if record["output"] is None:
        return None
    return {"predictions": record["output"], "references": json.dumps(record["sample"]["keep"])}


def _asked(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if record["output"] is None:
        return None
    sample = record["sample"]
    asked = {name: sample[name] for name in ("text", "answers")}
    asked["reference"] = sample["references"][0]
    return {"predictions": record["output"], "references": json.dumps(asked)}


def _person(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if record["output"] is None:
        return None
    asked = {name: record["sample"][name] for name in ("target", "entity", "gender")}
    return {"predictions": record["output"], "references": json.dumps(asked)}


def _continued(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if record["output"] is None:
        return None
    from evals.metrics.continuations import continuation

    said = continuation(record["output"], record["sample"]["start"])
    return {"predictions": said, "references": record["sample"]["group"]}


def _readings(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    p_values = (record.get("p_values") or {}).get(options["of"])
    return None if p_values is None else {"predictions": json.dumps(p_values)}


def _payload(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    read = (record.get("bits") or {}).get(options["of"])
    if read is None:
        return None
    return {"predictions": json.dumps(read), "references": json.dumps(record["written_bits"])}


EXTRACT: dict[
    str, tuple[tuple[str, ...], Callable[[Record, Mapping[str, Any]], dict[str, Any] | None]]
] = {
    "instruction_following": (("text",), _checked),
    "constraints_met": (("text",), _checked),
    "answer_accuracy": (("text",), _answered),
    "answer_accuracy_loss": (("text",), _answered),
    "distinct_n": (("text",), _text),
    "repetition": (("text", "translation"), _text),
    "empty": (("text", "translation"), _text),
    "perplexity": (("likelihood", "marked-text"), _likelihood),
    "accuracy": (("choice",), _options),
    "stereotype_share": (("choice",), _options),
    "occupation_correlation": (("choice",), _options),
    "latency": (("text", "image"), _timing),
    "r_precision": (("image",), _similarities),
    "language_gap": (("image",), _two_languages),
    "scene_exact": (("image",), _scene),
    "people_share": (("image",), _groups_read),
    "imbalance": (("image",), _balanced),
    "imbalance_within": (("image",), _balanced),
    "frechet_distance": (("image",), _embedded),
    "kernel_distance": (("image",), _embedded),
    "chrf_pp": (("translation",), _translated),
    "chrf_pp_caseless": (("translation",), _translated),
    "chrf_pp_loss": (("translation", "marked-translation"), _translated),
    "bleu": (("translation",), _translated),
    "ter": (("translation",), _translated),
    "kept": (("translation",), _to_keep),
    "kept_all": (("translation",), _to_keep),
    "terms_kept": (("translation",), _to_keep),
    "not_answered": (("translation",), _asked),
    "gender_accuracy": (("translation",), _person),
    "gender_coverage": (("translation",), _person),
    "delta_g": (("translation",), _person),
    "delta_s": (("translation",), _person),
    "gender_swap_right": (("translation",), _person),
    "gender_swap_same": (("translation",), _person),
    "gender_polarity": (("text",), _continued),
    "toxicity": (("text",), _continued),
    "group_gap": (("text",), _continued),
    "marks_found": (
        ("marked-text", "peoples-text", "marked-translation", "marked-picture"),
        _readings,
    ),
    "payload_bits": (("marked-picture",), _payload),
}
"""For each metric the kinds of sample that it scores, and its inputs from one record."""

INSTRUMENTS = {
    "r_precision": "judge",
    "language_gap": "judge",
    "scene_exact": "detector",
    "people_share": "people",
    "imbalance": "people",
    "imbalance_within": "people",
    "frechet_distance": "judge",
    "kernel_distance": "judge",
}
"""The trained instrument that a metric reads pictures with; its hash is in the signature."""

CHOOSE = ("category", "variant", "target", "group")
"""Options that choose records: those whose sample has the same value in this field."""

FOR_EXTRACT = ("of", "lang", *CHOOSE)
"""Options that choose what is taken from a record, or which records; the metric is not told."""


@dataclass(frozen=True, kw_only=True)
class MetricUse:
    """A metric as a suite uses it."""

    metric: str
    unit: str
    higher_is_better: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`distinct_2`, `latency_first_token_s`: the metric with what was chosen."""
        if "n" in self.options:
            return self.metric.removesuffix("_n") + f"_{self.options['n']}"
        return "_".join([self.metric, *map(str, self.options.values())])

    def signature(self) -> str:
        """What the number is, without how its interval was made."""
        options = "".join(f"|{k}:{v}" for k, v in self.options.items())
        if instrument := INSTRUMENTS.get(self.metric):
            from evals.judge.weights import fingerprint

            options += f"|{instrument}:{fingerprint(instrument)}"
        metric = load_metric(self.metric)
        return f"{self.metric}{options}|agg:{metric.aggregate}|v:{metric.version}"

    def check_ready(self) -> None:
        """Refuses before a long run what would fail after it.

        Raises:
            WeightsNotFoundError: the instrument has not been trained.
        """
        if instrument := INSTRUMENTS.get(self.metric):
            from evals.judge.weights import check_there

            check_there(instrument)

    def applicable(self, records: Sequence[Record]) -> list[Record]:
        """The records that the metric applies to."""
        kinds, _ = EXTRACT[self.metric]
        wanted = {name: self.options[name] for name in CHOOSE if name in self.options}
        return [
            r for r in records
            if r["kind"] in kinds and all(r["sample"].get(name) == wanted[name] for name in wanted)
        ]  # fmt: skip

    def inputs(self, records: Sequence[Record]) -> dict[str, dict[str, Any] | None]:
        """What the metric takes from each record it applies to, by sample id."""
        _, extract = EXTRACT[self.metric]
        return {r["id"]: extract(r, self.options) for r in self.applicable(records)}

    def clusters(self, records: Sequence[Record]) -> dict[str, str]:
        """What each sample is drawn together with, by its id: all translations of one text."""
        return {r["id"]: r["sample"].get("text") or r["id"] for r in records}

    def parts(self, records: Sequence[Record]) -> tuple[dict[str, list[float]], int]:
        """Per-sample parts by sample id, and how many samples could not be scored."""
        inputs = self.inputs(records)
        scored = {name: given for name, given in inputs.items() if given is not None}
        if not scored:
            return {}, len(inputs)
        columns: dict[str, list[Any]] = {}
        for given in scored.values():
            for column, value in given.items():
                columns.setdefault(column, []).append(value)
        options = {k: v for k, v in self.options.items() if k not in FOR_EXTRACT}
        rows = load_metric(self.metric).compute(**columns, **options)["per_sample"]
        parts = {name: row for name, row in zip(scored, rows, strict=True) if row is not None}
        return parts, len(inputs) - len(parts)

    def score(self, records: Sequence[Record]) -> Score:
        """Value, interval and counts over all records that the metric applies to.

        A metric that fails has its `error` in place of a value, so that others are still seen.
        """
        try:
            return self._score(records)
        except (MtgenError, MemoryError):
            raise
        except Exception as error:
            unscored = self._as_score(None, None, 0, len(self.applicable(records)))
            return replace(unscored, error=f"{type(error).__name__}: {error}")

    def _score(self, records: Sequence[Record]) -> Score:
        parts, n_unscored = self.parts(records)
        aggregate = load_metric(self.metric).aggregate
        rows = list(parts.values())
        clusters = self.clusters(records)
        drawn = summed_by_cluster(rows, [clusters[name] for name in parts], aggregate)
        interval = bootstrap_ci(*drawn) if rows else None
        value = AGGREGATES[aggregate](rows) if rows else None
        return self._as_score(value, interval, len(rows), n_unscored)

    def _as_score(
        self, value: float | None, interval: Interval | None, n_scored: int, n_unscored: int
    ) -> Score:
        """A value with all that is said of it."""
        return Score(
            name=self.name,
            value=value,
            ci95=interval.ci95 if interval else None,
            n_scored=n_scored,
            n_unscored=n_unscored,
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            signature=self.signature() + (f"|ci:{interval.method}" if interval else ""),
            standard_error=interval.standard_error if interval else None,
        )

    def paired(
        self, a: Sequence[Record], b: Sequence[Record]
    ) -> tuple[float | None, float | None, Paired | None, int, int]:
        """Both runs over the samples that both scored.

        Returns:
            Score of A, of B, the difference B - A with its test, samples, samples left out;
            None where no sample was scored in both.
        """
        parts_a, n_unscored = self.parts(a)
        parts_b = self.parts(b)[0]
        common = [name for name in parts_a if name in parts_b]
        n_left_out = len(parts_a) + n_unscored - len(common)
        if not common:
            return None, None, None, 0, n_left_out
        rows_a, rows_b = [parts_a[n] for n in common], [parts_b[n] for n in common]
        aggregate = load_metric(self.metric).aggregate
        combine = AGGREGATES[aggregate]
        clusters = self.clusters(a)
        together = [clusters[name] for name in common]
        drawn_a, of_clusters = summed_by_cluster(rows_a, together, aggregate)
        drawn_b, _ = summed_by_cluster(rows_b, together, aggregate)
        difference = paired_test(drawn_a, drawn_b, of_clusters)
        return combine(rows_a), combine(rows_b), difference, len(common), n_left_out
