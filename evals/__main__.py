"""`python -m evals list | run | report | compare | table`: scores with intervals, from a script."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
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
    from evals.models.source import ModelSource
    from evals.runner.engines import Engine
    from evals.runner.shards import Shard
    from evals.suites import Suite

DEFAULT_MODEL = "mtgen"
SAMPLES = "samples.parquet"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="python -m evals", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    listing = commands.add_parser("list", help="suites that can be run")
    listing.add_argument(
        "--coverage", action="store_true", help="which suite looks at which of HEIM's aspects"
    )
    listing.set_defaults(run=run_list)

    running = commands.add_parser("run", help="run a suite; resumes a run that was killed")
    running.add_argument(
        "--suite", required=True, metavar="NAME",
        help="name of a suite or a group from 'list'; 'standard' is all aspects in half an hour",
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
    running.add_argument(
        "--timeout-s", type=float, metavar="S",
        help="longest time for a sample, which then is unscored; a batch of translations has as "
        "much for each of its texts; choices, likelihoods and diffusers pipelines cannot be ended",
    )  # fmt: skip
    running.add_argument(
        "--retries",
        type=int,
        default=1,
        metavar="N",
        help="times that a sample is asked again where a server fails or something crashes",
    )
    running.add_argument(
        "--retry-errors", action="store_true",
        help="as a run goes on, ask again what timed out, failed or crashed before",
    )  # fmt: skip
    running.add_argument(
        "--shard", metavar="I/N",
        help="do only the I-th of N parts, into the same --out; 'accelerate launch --multi_gpu "
        "--num_processes N -m evals run' and torchrun give each process its own",
    )  # fmt: skip
    running.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="copies of the model, each in a process with its share of the cores",
    )
    running.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="where the copies are: on this machine, or actors of Ray, of RAY_ADDRESS if it is set",
    )
    running.set_defaults(run=run_run)

    report = commands.add_parser(
        "report", help="write report.html, report.md, scores.json and samples.parquet of a run"
    )
    report.add_argument("folder", type=Path, help="the run's folder")
    report.add_argument("--out", type=Path, help="where to write; default the run's folder")
    report.set_defaults(run=run_report)

    for command in (running, report):
        command.add_argument(
            "--push", metavar="REPO",
            help="send manifest, records, pictures, scores and report to this dataset repository "
            "of the Hub (owner/name), which is made, private, where there is none",
        )  # fmt: skip
        command.add_argument(
            "--push-model", metavar="REPO",
            help="beside --push: the suite's first score as .eval_results of this model repository",
        )  # fmt: skip

    comparing = commands.add_parser("compare", help="paired differences between two runs")
    comparing.add_argument("a", type=Path, help="folder of the first run")
    comparing.add_argument("b", type=Path, help="folder of the second run")
    comparing.set_defaults(run=run_compare)

    tabling = commands.add_parser("table", help="one table over several runs")
    tabling.add_argument(
        "paths", type=Path, nargs="+", metavar="RUN",
        help="folder of a run or of a group's runs, or results of lm-evaluation-harness",
    )  # fmt: skip
    tabling.set_defaults(run=run_table)

    for command in (listing, running, report, comparing, tabling):
        command.add_argument(
            "--json", action="store_true", help="one JSON object on standard output"
        )
    return parser


def run_list(options: argparse.Namespace) -> None:
    from evals.reports.tables import markdown_table
    from evals.suites import GROUPS, SUITES
    from evals.suites.coverage import coverage_rows
    from evals.suites.groups import minutes

    if options.coverage:
        tables = {"aspects": coverage_rows()}
    else:
        suites = [
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
        groups = [
            {
                "group": name,
                "minutes": round(sum(map(minutes, members))),
                "suites": ", ".join(
                    suite.name + (f" ({suite.drawn})" if suite.drawn else "") for suite in members
                ),
            }
            for name, members in GROUPS.items()
        ]
        tables = {"suites": suites, "groups": groups}
    if options.json:
        print_json(tables)
        return
    shown = []
    for rows in tables.values():
        cells = [["–" if cell is None else str(cell) for cell in row.values()] for row in rows]
        shown.append(markdown_table(list(rows[0]), cells))
    print(*shown, sep="\n\n")


def run_run(options: argparse.Namespace) -> None:
    from evals.reports.hub import check_push
    from evals.runner.run import check_limit, run_suite
    from evals.runner.shards import launched_shard, wait_for_all
    from evals.suites import GROUPS, OutsideSuite, find_suites

    suites = find_suites(options.suite)
    check_push(options.push, options.push_model)
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
    shard = chosen_shard(options)
    out = options.out or Path("runs") / f"{options.suite}-{datetime.now():%Y%m%d-%H%M%S}"
    settings = {} if options.mark is None else {"mark": options.mark}
    if options.mark is not None:
        check_mark(options.mark, (*TEXT_MARKS, *TRANSLATION_MARKS, *IMAGE_MARKS))
    is_group, launched = options.suite in GROUPS, launched_shard() is not None
    shown = []
    with engine_of(options) as engine:
        suites = able(engine, suites)
        print(f"records go to {out}; if this is stopped, --out {out} goes on", file=sys.stderr)
        for suite in suites:  # each in a folder of its own
            folder = out / suite.name if is_group else out
            run_suite(
                suite, engine, folder, seed=options.seed, limit=options.limit, settings=settings,
                shard=shard, timeout_s=options.timeout_s, retries=options.retries,
                retry_errors=options.retry_errors,
            )  # fmt: skip
            if not launched:
                shown.append(show_part(folder, shard, options.json) | push_run(folder, options))
    if launched:
        wait_for_all()
        if shard.index > 1:
            return
        folders = [out / suite.name if is_group else out for suite in suites]
        shown = [show_run(folder, options.json) | push_run(folder, options) for folder in folders]
    if options.json:
        print_json({"folder": str(out), "runs": shown} if is_group else shown[0])


def chosen_shard(options: argparse.Namespace) -> Shard:
    """The part of the run that is this process's.

    Raises:
        SettingError: no such part, two of them, or no folder that all parts share.
    """
    from evals.runner.shards import WHOLE, Shard, launched_shard

    shard = launched_shard()
    if options.shard is not None:
        if shard is not None:
            raise SettingError(
                f"a launched process has its shard, {shard}, from its rank; leave --shard out"
            )
        shard = Shard.parse(options.shard)
    if shard is not None and options.out is None:
        raise SettingError(f"shard {shard} needs --out, the folder that all shards write into")
    return shard or WHOLE


def engine_of(options: argparse.Namespace) -> Engine:
    """What the suites run on.

    Raises:
        SettingError: a number of workers that is none.
        ConfigError: Ray is missing, or the model is no good.
        TrunkError: the model cannot be had.
    """
    if options.engine == "ray":
        from evals.runner.ray_engine import RayActors

        return RayActors(source_of(options), options.workers)
    if options.workers != 1:
        from evals.runner.workers import Workers

        return Workers(source_of(options), options.workers)
    from evals.runner.engines import InProcess

    return InProcess(source_of(options).load())


def able(engine: Engine, suites: tuple[Suite, ...]) -> tuple[Suite, ...]:
    """The suites that a model can do; the others are named on standard error.

    Raises:
        SettingError: it can do none of them.
    """
    from evals.models import refusals

    refused = engine.call(refusals, suites)
    done = tuple(suite for suite in suites if suite.name not in refused)
    if not done:
        raise SettingError(next(iter(refused.values())))
    for sentence in refused.values():
        print(f"left out: {sentence}", file=sys.stderr)
    return done


def source_of(options: argparse.Namespace) -> ModelSource:
    """The model that was asked for."""
    from evals.models.source import ModelSource

    return ModelSource(name=options.model, weights=options.weights, precision=options.precision)


def show_run(folder: Path, as_json: bool) -> dict:
    """A run's manifest and scores; printed as a table unless they are for JSON."""
    from evals.reports.tables import read_run, run_json, run_markdown

    result = read_run(folder)
    if not as_json:
        print(run_markdown(result))
        print(f"'python -m evals report {folder}' makes a page of it", file=sys.stderr)
    return run_json(result)


def show_part(folder: Path, shard: Shard, as_json: bool) -> dict:
    """A run as `show_run` shows it, once all its shards are done; before that, how far it is."""
    from evals.runner.records import RunFolder

    run = RunFolder(folder)
    done, total = len(run.records()), run.manifest()["num_samples"]
    if done == total:
        return show_run(folder, as_json)
    if not as_json:
        print(f"shard {shard} is done; {done} of {total} samples of the run are on disk")
    return {"folder": str(folder), "shard": str(shard), "num_done": done, "num_samples": total}


def push_run(folder: Path, options: argparse.Namespace) -> dict:
    """Sends a run to the Hub where that was asked for; where it went."""
    from evals.reports.hub import push
    from evals.reports.tables import read_run

    if options.push is None:
        return {}
    run = read_run(folder)
    done, total = len(run.records), run.manifest["num_samples"]
    if done < total:
        print(
            f"not sent: {done} of {total} samples of {folder} are done; 'python -m evals report "
            f"{folder} --push {options.push}' sends it once all are",
            file=sys.stderr,
        )
        return {"pushed": []}
    made = push(run, options.push, options.push_model)
    print("sent to " + ", ".join(made), file=sys.stderr)
    return {"pushed": made}


def run_report(options: argparse.Namespace) -> None:
    from evals.reports.hub import check_push
    from evals.reports.page import run_page
    from evals.reports.samples import write_samples
    from evals.reports.tables import read_run, run_json, run_markdown

    check_push(options.push, options.push_model)
    result = read_run(options.folder)
    out = options.out or options.folder
    files = {
        "report.html": run_page(result),
        "report.md": run_markdown(result),
        "scores.json": json.dumps(run_json(result), indent=2, allow_nan=False) + "\n",
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, "utf-8")
        write_samples(result, out / SAMPLES)
    except OSError as error:
        raise CacheWriteError(f"cannot write to {out}: {error.strerror}") from error
    paths = [str(out / name) for name in (*files, SAMPLES)]
    pushed = push_run(options.folder, options)
    if options.json:
        print_json({"files": paths} | pushed)
    else:
        print("\n".join(paths))


def run_compare(options: argparse.Namespace) -> None:
    from evals.reports.tables import (
        DIFFERENCE_HEADER,
        TOLD_PAIRED,
        compare,
        difference_rows,
        markdown_table,
        read_run,
    )

    a, b = read_run(options.a), read_run(options.b)
    differences = compare(a, b)
    if options.json:
        rows = [difference.as_dict() for difference in differences]
        print_json({"a": str(options.a), "b": str(options.b), "differences": rows})
        return
    print(f"A: {options.a} ({a.manifest['model']})\nB: {options.b} ({b.manifest['model']})\n")
    print(markdown_table(DIFFERENCE_HEADER, difference_rows(differences)))
    print(f"\n{TOLD_PAIRED}")


def run_table(options: argparse.Namespace) -> None:
    from evals.reports.leaderboard import HEADER, entry_rows, read_entries
    from evals.reports.tables import markdown_table

    entries = read_entries(options.paths)
    if options.json:
        print_json({"scores": [entry.as_dict() for entry in entries]})
    else:
        print(markdown_table(HEADER, entry_rows(entries)))


def main(arguments: list[str]) -> None:
    options = build_parser().parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    sys.exit(run(main))
