"""What the metrics of translation share: sacrebleu's statistics, and what counts as kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.metrics import MetricUse, Record, load_metric
from evals.metrics.stats import AGGREGATES


@dataclass(frozen=True, kw_only=True)
class CorpusUse(MetricUse):
    """A corpus score of sacrebleu's, with sacrebleu's own signature in ours."""

    num_refs: int
    """References of each sample."""

    def signature(self) -> str:
        scorer = load_metric(self.metric).scorer()
        scorer.num_refs = self.num_refs
        return f"{super().signature()}|sacrebleu({scorer.get_signature()})"


@dataclass(frozen=True, kw_only=True)
class LossUse(CorpusUse):
    """What one variant of the sources costs, paired with the same sentences as they are.

    The option `variant` names it; records of `plain` stand beside it. A sentence goes by the id of
    its plain record, and is unscored unless both were translated.
    """

    def inputs(self, records: Sequence[Record]) -> dict[str, dict[str, Any] | None]:
        variant = self.options["variant"]
        altered = {r["sample"]["of"]: r for r in records if r["sample"].get("variant") == variant}
        return {
            r["id"]: _pair(r, altered[r["id"]])
            for r in records
            if r["sample"].get("variant") == "plain" and r["id"] in altered
        }


def _pair(plain: Record, altered: Record) -> dict[str, Any] | None:
    if plain["output"] is None or altered["output"] is None:
        return None
    sides = {"plain": plain, "altered": altered}
    outputs = {name: record["output"] for name, record in sides.items()}
    references = {name: record["sample"]["references"] for name, record in sides.items()}
    return {"predictions": json.dumps(outputs), "references": json.dumps(references)}


def statistics(
    scorer: Any, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> list[list[float]]:
    """sacrebleu's sufficient statistics of each sentence; its corpus score sums them.

    Args:
        scorer: A metric of `sacrebleu.metrics`.
        hypotheses: Translations.
        references: Of each of them, as many for each.
    """
    streams = list(zip(*references, strict=True))  # sacrebleu takes the first of all, then ...
    rows = scorer._extract_corpus_statistics(hypotheses, streams)
    return [[float(part) for part in row] for row in rows]


def corpus_result(
    scorer: Any, aggregate: str, predictions: Sequence[str], references: Sequence[str]
) -> dict[str, Any]:
    """A module's result; `references` are JSON lists."""
    rows = statistics(scorer, predictions, [json.loads(given) for given in references])
    return {"value": AGGREGATES[aggregate](rows), "per_sample": rows}


def kept(text: str, items: Sequence[str]) -> tuple[int, int]:
    """How many different items a text holds at least as often as they are listed, and how many
    there are.

    A number inside a longer number does not count.
    """
    wanted = Counter(items)
    num_kept = 0
    for item, count in wanted.items():
        before = r"(?<!\d)" if item[0].isdigit() else ""
        after = r"(?!\d)" if item[-1].isdigit() else ""
        num_kept += len(re.findall(before + re.escape(item) + after, text)) >= count
    return num_kept, len(wanted)


def holds_term(text: str, term: str) -> bool:
    """Whether a text has a term as words of its own, in any case of letters."""
    return re.search(rf"(?<!\w){re.escape(term.casefold())}(?!\w)", text.casefold()) is not None


STEM = 5
"""Characters from which an answer may be the beginning of a longer word, as "portug" is."""


def is_said(answer: str, text: str) -> bool:
    """Whether an answer stands in a text as a word, in any case of letters."""
    is_stem = len(answer) >= STEM and answer[-1].isalpha()
    after = "" if is_stem or not answer[-1].isalnum() else r"(?!\w)"
    before = r"(?<!\w)" if answer[0].isalnum() else ""
    return re.search(before + re.escape(answer.casefold()) + after, text.casefold()) is not None


def is_answered(text: str, reference: str, answers: Sequence[str]) -> bool:
    """Whether a question was answered or an order carried out, rather than translated.

    So it is where one of `answers` is said that the reference does not say, or where the text is
    far longer than the reference.
    """
    too_long = len(text) > 2 * len(reference) + 40
    return too_long or any(is_said(a, text) and not is_said(a, reference) for a in answers)


def is_copied(text: str, source: str) -> bool:
    """Whether a text is the source again, whatever its case and spaces."""
    return text.casefold().split() == source.casefold().split()
