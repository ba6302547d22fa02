"""`python -m evals list | run | report | compare`: scores with intervals, from a script."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mtgen.cli import Parser, print_json, run
from mtgen.errors import CacheWriteError, SettingError
from mtgen.requests import (
    IMAGE_MARKS,
    MAX_SEED,
    TEXT_MARKS,
    TRANSLATION_MARKS,
    check_mark,
    check_number,
)

if TYPE_CHECKING:
    from evals.models import Foreign
    from evals.suites import Suite
    from mtgen.pipeline import Pipeline

DEFAULT_MODEL = "mtgen"
NO_WEIGHTS = Path("none")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="python -m evals", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    listing = commands.add_parser("list", help="suites that can be run")
    listing.set_defaults(run=run_list)

    running = commands.add_parser("run", help="run a suite; resumes a run that was killed")
    running.add_argument(
        "--suite", required=True, metavar="NAME",
        help="name from 'list'; 'choice', 'image', 'text' or 'translation' for all of that kind",
    )  # fmt: skip
    running.add_argument("--out", type=Path, help="the run's folder; default runs/SUITE-TIME")
    running.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="M",
        help=f"{DEFAULT_MODEL!r}; a checkpoint folder, or owner/name on the Hub: a causal language "
        "model, a translator, a diffusers pipeline; https://host/v1#name of a server with OpenAI's "
        "API; or trio:TEXT,TRANSLATE,IMAGE of these, each of which may be empty",
    )  # fmt: skip
    running.add_argument(
        "--weights", type=Path, metavar="DIR",
        help="trained experts other than this release's; 'none' translates with the trunk alone, "
        "asked in words through its chat template, as a baseline",
    )  # fmt: skip
    running.add_argument(
        "--data", type=Path, metavar="DIR",
        help="folder of the data of suites that are not shipped: held-out sets of the data build "
        "(default $MTGEN_HELD_OUT, else build/data/parallel/held_out), or benchmarks in their "
        "published formats (default $MTGEN_BENCH, else build/bench)",
    )  # fmt: skip
    running.add_argument(
        "--precision", choices=["packed", "float32"], default="packed", help="of the weights"
    )
    running.add_argument("--limit", type=int, metavar="N", help="first N samples of each kind")
    running.add_argument("--seed", type=int, default=0, metavar="S", help="of the whole run")
    running.add_argument(
        "--mark", metavar="NAME",
        help="watermark instead of the usual one, 'none' for none; see mtgen.requests",
    )  # fmt: skip
    running.set_defaults(run=run_run)

    report = commands.add_parser("report", help="write report.html and report.md of a run")
    report.add_argument("folder", type=Path, help="the run's folder")
    report.add_argument("--out", type=Path, help="where to write; default the run's folder")
    report.set_defaults(run=run_report)

    comparing = commands.add_parser("compare", help="paired differences between two runs")
    comparing.add_argument("a", type=Path, help="folder of the first run")
    comparing.add_argument("b", type=Path, help="folder of the second run")
    comparing.set_defaults(run=run_compare)

    for command in (listing, running, report, comparing):
        command.add_argument(
            "--json", action="store_true", help="one JSON object on standard output"
        )
    return parser


def run_list(options: argparse.Namespace) -> None:
    from evals.reports.tables import markdown_table
    from evals.suites import SUITES

    rows = [
        {
            "suite": suite.name,
            "aspect": suite.aspect,
            "task": suite.task,
            "samples": suite.num_samples(),
            "minutes": suite.minutes,
            "licence": suite.licence,
            "description": suite.description,
        }
        for suite in SUITES.values()
    ]
    if options.json:
        print_json({"suites": rows})
    else:
        cells = [["–" if cell is None else str(cell) for cell in row.values()] for row in rows]
        print(markdown_table(list(rows[0]), cells))


def run_run(options: argparse.Namespace) -> None:
    from evals.runner.run import check_limit, run_suite
    from evals.suites import GROUPS, OutsideSuite, find_suites

    suites = find_suites(options.suite)
    if options.data is not None:
        if not any(isinstance(suite, OutsideSuite) for suite in suites):
            raise SettingError(
                f"--data is for suites whose data are not shipped; {options.suite} has all it needs"
            )
        suites = tuple(
            replace(suite, data=options.data) if isinstance(suite, OutsideSuite) else suite
            for suite in suites
        )
    for suite in suites:
        suite.check_ready()
    check_number("seed", options.seed, 0, MAX_SEED, integer=True)
    check_limit(options.limit)
    out = options.out or Path("runs") / f"{options.suite}-{datetime.now():%Y%m%d-%H%M%S}"
    settings = {} if options.mark is None else {"mark": options.mark}
    if options.mark is not None:
        check_mark(options.mark, (*TEXT_MARKS, *TRANSLATION_MARKS, *IMAGE_MARKS))
    pipeline = load_pipeline(options)
    is_group = options.suite in GROUPS
    suites = able(pipeline, suites)
    print(f"records go to {out}; if this is stopped, --out {out} goes on", file=sys.stderr)
    shown = []
    for suite in suites:  # each in a folder of its own
        folder = out / suite.name if is_group else out
        run_suite(
            suite, pipeline, folder, seed=options.seed, limit=options.limit, settings=settings
        )
        shown.append(show_run(folder, options.json))
    if options.json:
        print_json({"folder": str(out), "runs": shown} if is_group else shown[0])


def able(model: Pipeline | Foreign, suites: tuple[Suite, ...]) -> tuple[Suite, ...]:
    """The suites that a model can do; the others are named on standard error.

    Raises:
        SettingError: it can do none of them.
    """
    from evals.models import Foreign, check_able

    if isinstance(model, Foreign):
        done, refused = [], []
        for suite in suites:
            try:
                check_able(model, suite)
                done.append(suite)
            except SettingError as error:
                refused.append(error)
        if not done:
            raise refused[0]
        for error in refused:
            print(f"left out: {error}", file=sys.stderr)
        return tuple(done)
    return suites


def load_pipeline(options: argparse.Namespace) -> Pipeline | Foreign:
    """The model that was asked for; its marks have a published key and a fixed day, to repeat."""
    from evals.models import load_foreign
    from mtgen.marks.keys import PUBLIC
    from mtgen.marks.picture import FIRST_DAY

    trunk = None if options.model == DEFAULT_MODEL else options.model
    if trunk is not None and (foreign := load_foreign(trunk)) is not None:
        if options.weights is not None:
            raise SettingError(
                f"--weights are of experts beside our own trunk, and {trunk} has none; leave it out"
            )
        return foreign
    if options.weights == NO_WEIGHTS:
        from evals.runner.trunk_alone import TrunkAlone

        return TrunkAlone.load(trunk, precision=options.precision, keys=PUBLIC)
    import mtgen

    pipeline = mtgen.load(trunk, weights=options.weights, precision=options.precision, keys=PUBLIC)
    pipeline.today = lambda: FIRST_DAY
    return pipeline


def show_run(folder: Path, as_json: bool) -> dict:
    """A run's manifest and scores; printed as a table unless they are for JSON."""
    from evals.reports.tables import read_run, run_markdown

    result = read_run(folder)
    if not as_json:
        print(run_markdown(result))
        print(f"'python -m evals report {folder}' makes a page of it", file=sys.stderr)
    scores = [score.as_dict() for score in result.scores]
    return {"folder": str(folder), **result.manifest, "scores": scores}


def run_report(options: argparse.Namespace) -> None:
    from evals.reports.page import run_page
    from evals.reports.tables import read_run, run_markdown

    result = read_run(options.folder)
    out = options.out or options.folder
    files = {"report.html": run_page(result), "report.md": run_markdown(result)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, "utf-8")
    except OSError as error:
        raise CacheWriteError(f"cannot write to {out}: {error.strerror}") from error
    paths = [str(out / name) for name in files]
    if options.json:
        print_json({"files": paths})
    else:
        print("\n".join(paths))


def run_compare(options: argparse.Namespace) -> None:
    from evals.reports.tables import (
        DIFFERENCE_HEADER,
        compare,
        difference_rows,
        markdown_table,
        read_run,
    )

    a, b = read_run(options.a), read_run(options.b)
    differences = compare(a, b)
    if options.json:
        rows = [{**asdict(d), "verdict": d.verdict} for d in differences]
        print_json({"a": str(options.a), "b": str(options.b), "differences": rows})
        return
    print(f"A: {options.a} ({a.manifest['model']})\nB: {options.b} ({b.manifest['model']})\n")
    print(markdown_table(DIFFERENCE_HEADER, difference_rows(differences)))


def main(arguments: list[str]) -> None:
    options = build_parser().parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    sys.exit(run(main))
