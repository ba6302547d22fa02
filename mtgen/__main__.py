"""`python -m mtgen text | bench`: the model in the shell."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from mtgen.cli import Parser, print_json, run
from mtgen.errors import BadRequestError
from mtgen.requests import TextRequest, Timings


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(prog="python -m mtgen", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    text = commands.add_parser("text", help="answer a prompt", description="Answers a prompt.")
    text.add_argument("prompt", help="what to say to the model; '-' reads standard input")
    text.add_argument("--system", help="instruction that goes in front")
    fields = {field.name: field.default for field in dataclasses.fields(TextRequest)}
    text.add_argument("--max-new-tokens", type=int, default=fields["max_new_tokens"], metavar="N")
    text.add_argument("--temperature", type=float, default=fields["temperature"], metavar="T")
    text.add_argument("--top-p", type=float, default=fields["top_p"], metavar="P")
    text.add_argument("--seed", type=int, help="makes the same output again", metavar="S")
    text.add_argument("--json", action="store_true", help="one JSON object on standard output")
    text.set_defaults(run=run_text)

    bench = commands.add_parser(
        "bench",
        help="measure speed",
        description="Measures speed and memory beside transformers, interleaved in one run.",
    )
    bench.add_argument("--rounds", type=int, default=5, help="rounds; medians are reported")
    bench.add_argument("--tokens", type=int, default=64, help="new tokens a round")
    bench.add_argument("--json", action="store_true", help="one JSON object on standard output")
    bench.set_defaults(run=run_bench)

    for command in (text, bench):
        command.add_argument(
            "--trunk", metavar="PATH", help="checkpoint folder instead of the pinned trunk"
        )
    return parser


def run_text(options: argparse.Namespace) -> None:
    import mtgen

    prompt = options.prompt
    if prompt == "-":
        try:
            prompt = sys.stdin.read()
        except UnicodeDecodeError as error:
            raise BadRequestError(
                f"standard input is not UTF-8 text (byte {error.start}); convert it first"
            ) from None
    request = TextRequest(
        prompt=prompt,
        system=options.system,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
    )
    stream = mtgen.load(options.trunk).text_stream(request)
    if options.json:
        print_json(stream.generation.as_dict())
        return
    for piece in stream:
        print(piece, end="", flush=True)
    print(flush=True)
    print(summary(stream.generation.timings, stream.generation.seed), file=sys.stderr)


def summary(timings: Timings, seed: int) -> str:
    """`87 tokens at 84.2 tokens/s, first after 0.09 s, seed 12345`."""
    count = timings.num_new_tokens
    speed = f" at {timings.tokens_per_s:.1f} tokens/s" if timings.tokens_per_s else ""
    first = f", first after {timings.first_token_s:.2f} s" if count else ""
    return f"{count} token{'s' if count != 1 else ''}{speed}{first}, seed {seed}"


def run_bench(options: argparse.Namespace) -> None:
    from mtgen.engine.bench import bench, table

    result = bench(options.trunk, rounds=options.rounds, num_tokens=options.tokens)
    if options.json:
        print_json(result)
    else:
        print(table(result))


def main(arguments: list[str]) -> None:
    options = build_parser().parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    sys.exit(run(main))
