"""Runs of suites from the page: where results lie, what is asked, and turns that a run takes."""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtgen.errors import RecordsError, SettingError
from mtgen.requests import MAX_SEED, check_number
from mtgen.ui.model import SharedModel
from mtgen.ui.pictures import in_words

if TYPE_CHECKING:
    from evals.suites import Suite

RUNS_ENV, RUNS = "MTGEN_RUNS", Path("runs")
"""Names the results folder."""
OTHERS_ENV = "MTGEN_OTHER_MODELS"
"""1 lets visitors name models to fetch and run, 0 forbids it; unset forbids it on a Space only."""
MAX_ENV, MAX_RUNS = "MTGEN_MAX_RUNS", 500
"""Names how many runs the results folder may hold for visitors to add one; 0 for any number."""
OWN = "mtgen"
TURN_S = 8.0
"""Seconds of a run after which whoever waits for the model has a turn."""
REFRESH_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where runs are read and kept."""

    roots: tuple[Path, ...]
    """New runs go to the first one."""
    note: str = ""
    """What visitors should know of it."""


def results() -> Results:
    """The folder of the environment; one for the time being where that cannot be written to."""
    asked = Path(os.environ.get(RUNS_ENV) or RUNS)
    if writable(asked):
        return Results(roots=(asked,))
    made = Path(tempfile.mkdtemp(prefix="mtgen-runs-"))
    return Results(
        roots=(made, asked),
        note=f"{asked} cannot be written to: runs that are made here now are lost when the server "
        f"ends; {RUNS_ENV} names another folder",
    )


def writable(folder: Path) -> bool:
    """Whether a folder is there or can be made, and takes files."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def others_allowed() -> bool:
    """Whether visitors may name models other than the page's own."""
    said = os.environ.get(OTHERS_ENV, "").strip()
    return said == "1" if said else not os.environ.get("SPACE_ID")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is to be run.

    Raises:
        SettingError: a limit or seed out of range, or a model that this page does not run.
        UnknownNameError: no such suite.
    """

    suite: str
    model: str = OWN
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        from evals.runner.run import check_limit
        from evals.suites import find_suite

        find_suite(self.suite)
        check_limit(self.limit)
        check_number("seed", self.seed, 0, MAX_SEED, integer=True)
        if self.model != OWN and not others_allowed():
            raise SettingError(
                f"this page runs its own model only, {OWN!r}, not {self.model[:80]!r}; "
                f"'python -m evals run --model' runs others, or {OTHERS_ENV}=1 allows them here"
            )

    @property
    def name(self) -> str:
        """Of the folder: the same for the same choice."""
        model = re.sub(r"[^\w.-]+", "-", self.model).strip("-.")[-60:]
        limit = "" if self.limit is None else f"-n{self.limit}"
        return f"{self.suite}-{model}{limit}-s{self.seed}"


class Evaluation:
    """A run in the making. It goes on in turns, each of which asks at least one batch.

    Args:
        choice: What is run.
        root: Folder of its folder.
    """

    def __init__(self, choice: Choice, root: Path) -> None:
        self.choice, self.root = choice, root
        self.stop = threading.Event()
        self.folder: Path | None = None
        """Of the run, once it has begun."""
        self.done, self.total = 0, 0
        """Samples; none in all until the model is there."""
        self.finished = False
        self.error: Exception | None = None
        self._model: Any = None
        self._before, self._computed_s = 0, 0.0  # samples done by earlier evaluations; of turns

    @property
    def over(self) -> bool:
        """Whether no turn is needed any more."""
        return self.finished or self.error is not None or self.stop.is_set()

    @property
    def line(self) -> str:
        """Where it has got to, in words."""
        if not self.total:
            return "Loading the model…"
        made = self.done - self._before
        left = self._computed_s / made * (self.total - self.done) if made > 0 else 0.0
        return f"{self.done} of {self.total} samples{in_words(left)}"

    def turn(self, model: SharedModel) -> Iterator[None]:
        """Runs for a turn in a thread of its own, and yields now and then while it lasts.

        Whatever goes wrong is in `error` then. Where nobody listens any more, the run stops.
        """
        worker = threading.Thread(target=self._turn, args=(model,), daemon=True)
        worker.start()
        try:
            while worker.is_alive():
                yield
                worker.join(REFRESH_S)
        finally:
            if worker.is_alive():
                self.stop.set()

    def _turn(self, model: SharedModel) -> None:
        from evals.runner.shared import Stopped
        from evals.suites import find_suite

        try:
            suite = find_suite(self.choice.suite)
            if self._model is None:
                suite.check_ready()
                suite.samples()
                self._model = self._load(model, suite)
            self.finished = self._go_on(suite)
        except Stopped:
            pass
        except Exception as error:  # belongs to whoever watches
            self.error = error

    def _load(self, model: SharedModel, suite: Suite) -> Any:
        """The page's own model with the marks of evals, or one that is loaded for this run."""
        from evals.models import check_able, load_foreign
        from evals.runner.shared import Measured

        if self.choice.model == OWN:
            return Measured(model.pipeline(), self.stop)
        other = load_foreign(self.choice.model)
        if other is None:
            import mtgen

            return Measured(mtgen.load(self.choice.model, progress=False), self.stop)
        check_able(other, suite)
        return other

    def _go_on(self, suite: Suite) -> bool:
        """Runs until the turn is over; whether the run is finished.

        The first turn finds the folder: where one of that name holds a run of other weights or
        other samples, or is damaged, that is left as it is and the next number is taken.
        """
        from evals.runner.records import MANIFEST
        from evals.runner.run import run_suite

        more = {"seed": self.choice.seed, "limit": self.choice.limit, "watch": self._watcher()}
        if self.folder is not None:
            return run_suite(suite, self._model, self.folder, **more)
        for number in count(1):
            folder = self.root / (
                self.choice.name if number == 1 else f"{self.choice.name}-{number}"
            )
            was_there = (folder / MANIFEST).exists()
            try:
                self._before = num_records(folder)
                self.folder = folder
                return run_suite(suite, self._model, folder, **more)
            except RecordsError:
                if not was_there:
                    raise
                self.folder = None
        raise AssertionError("numbers do not end")

    def _watcher(self) -> Callable[[int, int], bool]:
        """Notes the progress, and ends a turn. Its clock starts when samples begin, not before:
        those that are done already pass in no time, so that each turn asks something new."""
        began: float | None = None
        earlier_s = self._computed_s

        def watch(done: int, total: int) -> bool:
            nonlocal began
            began = time.monotonic() if began is None else began
            taken = time.monotonic() - began
            self.done, self.total = max(self.done, self._before, done), total
            self._computed_s = earlier_s + taken
            return self.stop.is_set() or taken > TURN_S

        return watch


def num_records(folder: Path) -> int:
    """Samples of a run that are on disk; errors as `RunFolder.records`."""
    from evals.runner.records import RunFolder

    return len(RunFolder(folder).records())


def check_room(root: Path, name: str) -> None:
    """Refuses a new run where there are as many as may be; those that are there can go on.

    Raises:
        SettingError: so it is, or the environment does not give a number.
    """
    from evals.runner.records import MANIFEST

    said = os.environ.get(MAX_ENV, "").strip() or str(MAX_RUNS)
    if not said.isdecimal():
        raise SettingError(f"{MAX_ENV} must be a whole number of runs, got {said!r}")
    if not int(said) or (root / name).is_dir():
        return
    count = sum(1 for _ in root.glob(f"*/{MANIFEST}"))
    if count >= int(said):
        raise SettingError(
            f"the results folder holds {count} runs and takes no more than {said}; whoever runs "
            f"this page can delete some there, or set {MAX_ENV}"
        )


class Evaluations:
    """The evaluation of each visitor, and what is being written."""

    def __init__(self) -> None:
        self._by_session: dict[str | None, Evaluation] = {}
        self._lock = threading.Lock()

    def begin(self, session: str | None, choice: Choice, root: Path) -> None:
        """Registers a visitor's evaluation.

        Raises:
            SettingError: the visitor's last one is not over, another visitor makes the same, or
                there is no place for one more.
        """
        check_room(root, choice.name)
        with self._lock:
            if session in self._by_session:
                raise SettingError("your last run is not over; stop it first, or wait")
            if any(other.choice.name == choice.name for other in self._by_session.values()):
                raise SettingError(
                    "another visitor is making this very run; wait for it, or take another seed"
                )
            self._by_session[session] = Evaluation(choice, root)

    def current(self, session: str | None) -> Evaluation | None:
        """What `begin` registered, until its end."""
        return self._by_session.get(session)

    def stop(self, session: str | None) -> None:
        """Ends a visitor's evaluation, waiting or running, within one token of our model."""
        if evaluation := self.current(session):
            evaluation.stop.set()

    def end(self, session: str | None) -> Evaluation | None:
        """Stops and forgets a visitor's evaluation, and gives it."""
        self.stop(session)
        with self._lock:
            return self._by_session.pop(session, None)
