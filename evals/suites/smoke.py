"""Does the model answer at all, roughly as asked, in sane text, at speed? In two minutes."""

from evals.metrics import MetricUse
from evals.suites.base import Suite

SMOKE = Suite(
    name="smoke",
    aspect="sanity",
    task="text",
    description="short instructions with programmatic checks, perplexity on prose, latency",
    filename="smoke.jsonl",
    licence="Apache-2.0, written for this project",
    minutes=1.5,
    metrics=(
        MetricUse(metric="instruction_following", unit="share of prompts", higher_is_better=True),
        MetricUse(metric="perplexity", unit="per token", higher_is_better=False),
        MetricUse(metric="distinct_n", unit="share", higher_is_better=True, options={"n": 2}),
        MetricUse(metric="repetition", unit="share", higher_is_better=False, options={"n": 4}),
        MetricUse(metric="latency", unit="s to first token", higher_is_better=False,
                  options={"of": "first_token_s"}),
        MetricUse(metric="latency", unit="tokens/s", higher_is_better=True,
                  options={"of": "tokens_per_s"}),
    ),
)  # fmt: skip
