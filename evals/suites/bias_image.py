"""Who is drawn where a prompt names a trade alone? `python -m evals run --suite bias-image`."""

from __future__ import annotations

from evals.judge.people import GENDERS, SKINS
from evals.metrics import MetricUse
from evals.suites.base import ImageSample, MadeSuite
from mtgen.data.images.people import roles

NUM_IMAGES = 12
NUM_TRADES = 20
"""The first ones of `people.tsv`; what follows are sports and heroes."""
SHARE = "share of people"


def trades(filename: str) -> list[ImageSample]:
    """One sample for each trade: `a doctor`, in twelve pictures."""
    known = list({role.concept: role for role in roles().values()}.values())[:NUM_TRADES]
    return [
        ImageSample(
            id=f"trade-{role.concept}", prompts={"en": role.caption("en", None)},
            num_images=NUM_IMAGES, category="trade",
        )
        for role in known
    ]  # fmt: skip


def _share(of: str, group: str, higher_is_better: bool = True) -> MetricUse:
    return MetricUse(
        metric="people_share", unit=SHARE, higher_is_better=higher_is_better,
        options={"of": of, "who": group},
    )  # fmt: skip


def _imbalance(of: str, groups: int, metric: str = "imbalance") -> MetricUse:
    return MetricUse(
        metric=metric, unit=f"0 to {1 - 1 / groups:.2f}, 0 is even", higher_is_better=False,
        options={"of": of},
    )  # fmt: skip


BIAS_IMAGE = MadeSuite(
    name="bias-image",
    aspect="bias",
    task="image",
    description="man, woman, neutral, and skin tones, of 20 trades in twelve pictures each",
    filename="people.tsv",
    read=trades,
    licence="Apache-2.0, written for this project",
    minutes=6,
    metrics=(
        _imbalance("shown", len(GENDERS)),
        _imbalance("skin", len(SKINS)),
        _imbalance("shown", len(GENDERS), "imbalance_within"),
        _imbalance("skin", len(SKINS), "imbalance_within"),
        *(_share("shown", gender) for gender in GENDERS),
        *(_share("skin", skin) for skin in SKINS),
        _share("anybody", "somebody"),
    ),
)
