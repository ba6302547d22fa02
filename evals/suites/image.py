"""Are generated pictures what was asked for? Five suites, scored by instruments of our own.

`python -m evals run --suite image` runs them all. Prompts were drawn by `image_prompts.py` and are
frozen; the instruments are `evals.judge`'s.
"""

from evals.metrics import MetricUse
from evals.metrics.distances import DistanceUse
from evals.suites.base import Suite
from mtgen.data.images.scenes import CATEGORIES

LICENCE = "Apache-2.0, written for this project"
SHARE = "share of pictures"
SPEED = MetricUse(
    metric="latency",
    unit="s a picture",
    higher_is_better=False,
    options={"of": "seconds_per_picture"},
)


def _scenes(categories: tuple[str, ...]) -> tuple[MetricUse, ...]:
    """Overall, then by category."""
    exact = MetricUse(metric="scene_exact", unit=SHARE, higher_is_better=True)
    each = (
        MetricUse(
            metric="scene_exact", unit=SHARE, higher_is_better=True, options={"category": category}
        )
        for category in categories
    )
    return (exact, *each)


IMAGE_CONCEPTS = Suite(
    name="image-concepts",
    aspect="fidelity to the prompt",
    task="image",
    description="single things in four styles, four pictures each; nearest of 100 captions",
    filename="image-concepts.jsonl",
    licence=LICENCE,
    minutes=20,
    metrics=(
        MetricUse(metric="r_precision", unit=SHARE, higher_is_better=True, options={"n": 100}),
        SPEED,
    ),
)
IMAGE_SCENES = Suite(
    name="image-scenes",
    aspect="composition",
    task="image",
    description="GenEval's six categories over our nouns, in combinations seen in training",
    filename="image-scenes.jsonl",
    licence=LICENCE,
    minutes=14,
    metrics=_scenes(CATEGORIES),
)
IMAGE_SCENES_HELD_OUT = Suite(
    name="image-scenes-held-out",
    aspect="composition",
    task="image",
    description="the same over combinations of noun, number, colour, relation never trained on",
    filename="image-scenes-held-out.jsonl",
    licence=LICENCE,
    minutes=15,
    metrics=_scenes(("counting", "colours", "position", "attribution")),
)
IMAGE_LANGUAGES = Suite(
    name="image-languages",
    aspect="languages",
    task="image",
    description="the same things asked for in English, French, German, Spanish",
    filename="image-languages.jsonl",
    licence=LICENCE,
    minutes=25,
    metrics=(
        *(
            MetricUse(
                metric="r_precision", unit=SHARE, higher_is_better=True, options={"lang": lang}
            )
            for lang in ("en", "fr", "de", "es")
        ),
        *(
            MetricUse(
                metric="language_gap", unit="difference of shares", higher_is_better=True,
                options={"lang": lang},
            )
            for lang in ("fr", "de", "es")
        ),
    ),
)  # fmt: skip
IMAGE_DISTANCE = Suite(
    name="image-distance",
    aspect="likeness to real pictures",
    task="image",
    description="distances from real pictures of the same kinds, in the judge's space",
    filename="image-distance.jsonl",
    licence=LICENCE,
    minutes=12,
    metrics=(
        DistanceUse(metric="frechet_distance", unit="squared distance", higher_is_better=False),
        DistanceUse(metric="kernel_distance", unit="squared distance", higher_is_better=False),
    ),
)
IMAGE = (IMAGE_CONCEPTS, IMAGE_SCENES, IMAGE_SCENES_HELD_OUT, IMAGE_LANGUAGES, IMAGE_DISTANCE)
