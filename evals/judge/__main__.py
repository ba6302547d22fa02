"""`python -m evals.judge train | check | select | reference`: what scores pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtgen.cli import Parser, print_json, run
from mtgen.errors import CacheWriteError
from mtgen.requests import check_number

WORK = Path("build/judge")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="python -m evals.judge", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    training = commands.add_parser("train", help="train an instrument; --resume goes on")
    training.add_argument("--minutes", type=float, required=True, help="of training, in all")
    training.add_argument("--work", type=Path, default=WORK, help="for pictures and checkpoint")
    training.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --work"
    )
    training.add_argument("--threads", type=int, help="of torch; all cores unless given")
    training.set_defaults(run=run_train)

    checking = commands.add_parser("check", help="scores on real pictures, against the bar")
    checking.add_argument("--limit", type=int, metavar="N", help="first N concepts or scenes")
    checking.set_defaults(run=run_check)

    reference = commands.add_parser("reference", help="embed the real pictures of image-distance")
    reference.set_defaults(run=run_reference)

    selecting = commands.add_parser("select", help="list the nouns that the judge can tell")
    selecting.set_defaults(run=run_select)

    for command in (training, checking):
        command.add_argument("kind", choices=["judge", "detector", "people"], help="the instrument")
        command.add_argument("--out", type=Path, help="the weights; default where evals look")
    for command in (training, checking, selecting, reference):
        command.add_argument(
            "--pack", type=Path, required=True, metavar="DIR",
            help="pictures from 'python -m mtgen.data build images --pack DIR'",
        )  # fmt: skip
        command.add_argument(
            "--json", action="store_true", help="one JSON object on standard output"
        )
    return parser


def run_train(options: argparse.Namespace) -> None:
    import torch

    from evals.judge.training import check_minutes
    from evals.judge.weights import KINDS, WEIGHTS

    check_minutes(options.minutes)
    if options.threads is not None:
        check_number("threads", options.threads, 1, 1024, integer=True)
        torch.set_num_threads(options.threads)
    out = options.out or WEIGHTS / KINDS[options.kind]
    if options.kind == "judge":
        from evals.judge.train_judge import train_judge as train
    elif options.kind == "people":
        from evals.judge.train_people import train_people as train
    else:
        from evals.judge.train_detector import train_detector as train
    train(options.pack, out, options.work, minutes=options.minutes, resume=options.resume)
    if options.json:
        print_json({"weights": str(out)})
    else:
        print(
            f"{out}\n'python -m evals.judge check {options.kind} --pack {options.pack} "
            f"--out {out}' tests it",
        )


def run_check(options: argparse.Namespace) -> None:
    from evals.judge.check import BAR, check_detector, check_judge
    from evals.judge.weights import load_detector, load_judge, load_people
    from evals.reports.tables import SCORE_HEADER, markdown_table, score_rows
    from mtgen.data.packed import Packed

    if options.limit is not None:
        check_number("limit", options.limit, 1, 10**6, integer=True)
    if options.kind == "judge":
        judge = load_judge(options.out)
        scores = check_judge(judge, Packed(options.pack, "images"), options.limit)
    elif options.kind == "people":
        from evals.judge.train_people import check_people

        scores = check_people(
            load_people(options.out), Packed(options.pack, "images"), options.limit
        )
    else:
        detector = load_detector(options.out)
        scores = check_detector(detector, Packed(options.pack, "images"), options.limit)
    passed = bool(scores[0].value and scores[0].value >= BAR)
    if options.json:
        print_json({"scores": [score.as_dict() for score in scores], "bar": BAR, "passed": passed})
    else:
        print(markdown_table(SCORE_HEADER, score_rows(scores)))
        print(f"bar {BAR:.0%}: {'reached' if passed else 'not reached'}", file=sys.stderr)


def run_select(options: argparse.Namespace) -> None:
    from evals.judge.check import select_nouns
    from evals.judge.concepts import TOLD
    from evals.judge.weights import load_judge
    from mtgen.data.packed import Packed

    nouns, asked = select_nouns(load_judge(), Packed(options.pack, "images"))
    lines = [f"{noun.codepoints}\t{noun.words['en'][0].singular}\n" for noun in nouns]
    try:
        TOLD.write_text("".join(lines), "utf-8")
    except OSError as error:
        raise CacheWriteError(f"cannot write {TOLD}: {error.strerror}") from error
    if options.json:
        print_json({"nouns": str(TOLD), "told": len(nouns), "asked": asked})
    else:
        print(f"{TOLD}: {len(nouns)} of {asked} nouns")


def run_reference(options: argparse.Namespace) -> None:
    from evals.judge.reference import make_reference, write_reference
    from evals.judge.weights import load_judge
    from mtgen.data.packed import Packed

    path = write_reference(make_reference(load_judge(), Packed(options.pack, "images")))
    if options.json:
        print_json({"reference": str(path)})
    else:
        print(path)


def main(arguments: list[str]) -> None:
    options = build_parser().parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    sys.exit(run(main))
