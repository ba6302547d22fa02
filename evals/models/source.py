"""Which model, in words that go to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtgen.errors import SettingError
from mtgen.requests import Precision

if TYPE_CHECKING:
    from evals.models import Foreign
    from mtgen.pipeline import Pipeline

OURS = "mtgen"
NO_WEIGHTS = Path("none")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """What `--model`, `--weights` and `--precision` say."""

    name: str = OURS
    weights: Path | None = None
    precision: Precision = "packed"

    def load(self) -> Pipeline | Foreign:
        """The model; its marks have a published key and a fixed day, to repeat.

        Raises:
            SettingError: trained experts for a model that has none.
            TrunkError: it cannot be had.
            ConfigError: it is none that can be asked.
        """
        from evals.models import load_foreign
        from mtgen.marks.keys import PUBLIC
        from mtgen.marks.picture import FIRST_DAY

        trunk = None if self.name == OURS else self.name
        if trunk is not None and (foreign := load_foreign(trunk)) is not None:
            if self.weights is not None:
                raise SettingError(
                    f"--weights are of experts beside our own trunk, and {trunk} has none; leave "
                    "it out"
                )
            return foreign
        if self.weights == NO_WEIGHTS:
            from evals.runner.trunk_alone import TrunkAlone

            return TrunkAlone.load(trunk, precision=self.precision, keys=PUBLIC)
        import mtgen

        pipeline = mtgen.load(trunk, weights=self.weights, precision=self.precision, keys=PUBLIC)
        pipeline.today = lambda: FIRST_DAY
        return pipeline
