"""`python -m mtgen text | translate | image | verify | keys | bench | export`: in the shell."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from mtgen.cli import Parser, print_json, run
from mtgen.errors import BadRequestError, CacheWriteError
from mtgen.requests import (
    LANGUAGES,
    ImageGeneration,
    ImageRequest,
    TextRequest,
    Timings,
    TranslationGeneration,
    TranslationRequest,
)


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

    add_translate(commands)
    add_image(commands)

    add_verify(commands)
    add_keys(commands)
    add_export(commands)

    bench = commands.add_parser(
        "bench",
        help="measure speed",
        description="Measures speed and memory beside others, interleaved in one run: "
        "transformers, and llama.cpp and CTranslate2 where requirements-bench.txt is installed.",
    )
    bench.add_argument(
        "--task", choices=("text", "translate", "image", "start", "scaling"), action="append",
        help="what to measure; may be repeated; all but scaling unless given",
    )  # fmt: skip
    bench.add_argument("--rounds", type=int, default=5, help="rounds; medians are reported")
    bench.add_argument("--tokens", type=int, default=64, help="text: new tokens a round")
    bench.add_argument(
        "--sentences", type=int, default=200, help="translate: sentences in batches, up to 1000"
    )
    bench.add_argument(
        "--weights", metavar="PATH", help="folder of the experts, not this release's"
    )
    bench.add_argument("--json", action="store_true", help="one JSON object on standard output")
    bench.set_defaults(run=run_bench)

    for command in commands.choices.values():
        command.add_argument(
            "--trunk", metavar="PATH", default=None,
            help="checkpoint folder instead of the pinned trunk",
        )  # fmt: skip
    return parser


def add_translate(commands: argparse._SubParsersAction) -> None:
    """The command `translate`."""
    translate = commands.add_parser(
        "translate",
        help="translate a text or a file",
        description="Translates between English, French, German and Spanish.",
    )
    add = translate.add_argument
    add("text", nargs="?", help="what to translate; '-' reads standard input")
    add("--to", dest="target", required=True, metavar="LANG", help="en, fr, de or es")
    add("--from", dest="source", metavar="LANG", help="the same; found out unless given")
    add("--file", type=Path, metavar="FILE",
        help="translate a file: .txt, .md, .srt, .vtt, .po, .csv or .docx")  # fmt: skip
    add("--column", metavar="NAME", help="of a .csv: which column, by name or number")
    add("-o", "--out", type=Path, metavar="FILE",
        help="where the file goes; without it NAME.LANG.TYPE beside the original")  # fmt: skip
    add("--glossary", type=Path, metavar="CSV",
        help="two columns: a term, and what it must become")  # fmt: skip
    fields = {field.name: field.default for field in dataclasses.fields(TranslationRequest)}
    add("--beams", dest="num_beams", type=int, default=fields["num_beams"], metavar="N",
        help="hypotheses that are followed; 1 is greedy and fastest (default: %(default)s)",
    )  # fmt: skip
    add("--alternatives", dest="num_alternatives", type=int, default=0, metavar="N",
        help="other translations, up to 4")  # fmt: skip
    add("--temperature", type=float, default=fields["temperature"], metavar="T",
        help="above 0: sample instead of searching (default: %(default)s)")  # fmt: skip
    add("--seed", type=int, metavar="S", help="makes the same sample again")
    add("--json", action="store_true", help="one JSON object on standard output")
    add("--weights", metavar="PATH", default=None,
        help="folder of trained experts instead of those of this release")  # fmt: skip
    translate.set_defaults(run=run_translate)


def add_image(commands: argparse._SubParsersAction) -> None:
    """The command `image`; its settings are absent where they were not given."""
    image = commands.add_parser(
        "image",
        help="draw a prompt",
        description="Draws a prompt as files that carry their settings and credentials.",
        argument_default=argparse.SUPPRESS,
    )
    add = image.add_argument
    add("prompt", nargs="?",
        help="what to draw, in English, French, German or Spanish; '-' reads standard input",
    )  # fmt: skip
    add("-o", "--out", metavar="FILE", default=None, type=Path,
        help="PNG or JPEG file, or folder; several pictures get -1, -2, ...; "
        "without it a name from prompt and seed")  # fmt: skip
    add("--from", dest="source", metavar="FILE", type=Path, default=None,
        help="take the settings of a picture; those given beside it win")  # fmt: skip
    defaults = {field.name: field.default for field in dataclasses.fields(ImageRequest)}
    for flag, name, kind, metavar, what in (
        ("--negative", "negative_prompt", str, "TEXT", "what not to draw"),
        ("--style", "style", str, "NAME", "look, such as fluent-emoji-3d; a wrong one lists all"),
        ("--size", "size_px", int, "PX", "side in pixels"),
        ("--steps", "num_inference_steps", int, "N", "rounds of drawing"),
        ("--guidance", "guidance_scale", float, "G", "how much the prompt counts"),
        ("--temperature", "temperature", float, "T", "0 takes the likeliest always"),
        ("--seed", "seed", int, "S", "makes the same picture again"),
        ("--num-images", "num_images", int, "N", "pictures; each has the next seed"),
    ):
        default = "" if defaults[name] in (None, "") else f" (default: {defaults[name]})"
        add(flag, dest=name, type=kind, metavar=metavar, help=what + default)
    add("--json", action="store_true", default=False, help="one JSON object on standard output")
    add("--weights", metavar="PATH", default=None,
        help="folder of trained experts instead of those of this release")  # fmt: skip
    image.set_defaults(run=run_image)


def add_verify(commands: argparse._SubParsersAction) -> None:
    """The command `verify`."""
    verify = commands.add_parser(
        "verify",
        help="say whether a text or a picture was made here",
        description="Looks for watermarks, Content Credentials and settings.",
    )
    add = verify.add_argument
    add(
        "file",
        nargs="?",
        help="picture, document or text file; '-' reads a text from standard input",
    )
    add("--text", help="a text instead of a file")
    add("--thorough", action="store_true",
        help="ask the model too, which finds shorter texts and takes a second for some hundred "
        "words; look for pictures that were cut and resized",
    )  # fmt: skip
    add(
        "--original",
        metavar="FILE",
        help="text file with what the text is a translation of: finds shorter translations",
    )
    add(
        "--prompt",
        metavar="FILE",
        help="text file with what was asked: finds answers of 25 tokens and more",
    )
    add("--json", action="store_true", help="one JSON object on standard output")
    verify.set_defaults(run=run_verify)


def add_keys(commands: argparse._SubParsersAction) -> None:
    """The command `keys`."""
    keys = commands.add_parser(
        "keys",
        help="list, rotate or add the keys of the marks",
        description="The secret keys of the marks. They are never shown, only their fingerprints.",
    )
    keys.add_argument(
        "action", choices=("list", "rotate", "add"), nargs="?", default="list",
        help="rotate: make a new key, the former ones keep verifying; add: read another host's "
        "key from standard input, to verify with",
    )  # fmt: skip
    keys.add_argument("--host", metavar="NAME", help="add: whose key it is")
    keys.add_argument("--json", action="store_true", help="one JSON object on standard output")
    keys.set_defaults(run=run_keys)


def add_export(commands: argparse._SubParsersAction) -> None:
    """The command `export`."""
    export = commands.add_parser(
        "export",
        help="write the trunk as a folder for transformers",
        description="Writes the trunk, without its experts, in the layout of save_pretrained().",
    )
    export.add_argument("out", type=Path, metavar="DIR", help="a new or empty folder")
    export.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights"
    )
    export.add_argument("--json", action="store_true", help="one JSON object on standard output")
    export.set_defaults(run=run_export)


def run_text(options: argparse.Namespace) -> None:
    import mtgen

    request = TextRequest(
        prompt=typed(options.prompt),
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


def typed(prompt: str) -> str:
    """The prompt itself; `-` stands for what comes in on standard input.

    Raises:
        BadRequestError: that is not text.
    """
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise BadRequestError(
            f"standard input is not UTF-8 text (byte {error.start}); convert it first"
        ) from None


def summary(timings: Timings, seed: int) -> str:
    """`87 tokens at 84.2 tokens/s, first after 0.09 s, seed 12345`."""
    count = timings.num_new_tokens
    speed = f" at {timings.tokens_per_s:.1f} tokens/s" if timings.tokens_per_s else ""
    first = f", first after {timings.first_token_s:.2f} s" if count else ""
    return f"{count} token{'s' if count != 1 else ''}{speed}{first}, seed {seed}"


def run_translate(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    import mtgen
    from mtgen.documents import open_document, read_glossary, translated_name
    from mtgen.model.trunk import writing

    if (options.text is None) == (options.file is None):
        raise BadRequestError("give a text, '-' for standard input, or --file with a file")
    names = ("target", "source", "num_beams", "num_alternatives", "temperature", "seed")
    settings = {name: getattr(options, name) for name in names}
    if options.glossary is not None:
        settings["glossary"] = read_glossary(options.glossary.name, read_bytes(options.glossary))
    document = out = None
    if options.file is None:
        request = TranslationRequest(text=typed(options.text), **settings)
        stream = mtgen.load(options.trunk, weights=options.weights).translation_stream(request)
    else:
        content = read_bytes(options.file)
        document = open_document(options.file.name, content, column=options.column)
        out = options.out or options.file.with_name(
            translated_name(options.file.name, options.target)
        )
        if out.is_dir() or not out.parent.is_dir():
            raise BadRequestError(f"{out} must be a file in a folder that is there")
        if options.out is None and out.exists():
            raise BadRequestError(f"{out} is there already; name another file with -o")
        TranslationRequest(text="-", **settings)  # refuses bad settings before the model loads
        pipeline = mtgen.load(options.trunk, weights=options.weights)
        stream = pipeline.document_stream(document, **settings)
    with tqdm(total=None, desc="translating", unit="sentence", disable=None) as bar:
        for progress in stream:
            bar.total = progress.num_sentences
            bar.update(progress.num_done - bar.n)
    generation = stream.generation
    if document is not None and out is not None:
        with writing(out.parent, "choose another place with -o"):
            out.write_bytes(document.written(stream.pieces))
    for note in (*getattr(document, "notes", ()), *notes_of(generation)):
        print(f"note: {note}", file=sys.stderr)
    if options.json:
        print_json(generation.as_dict() | ({"file": str(out)} if out else {}))
    elif out:
        print(out)
    else:
        print(generation.text, *generation.alternatives, sep="\n")


def notes_of(generation: TranslationGeneration) -> list[str]:
    """What a person should know of a translation, the language and the sentences' notes."""
    source = generation.request.source
    notes = list(generation.notes)
    if generation.detected is not None and source is not None:
        notes.append(f"from {LANGUAGES[source]} (found out, {generation.detected:.0%} sure)")
    if generation.via:
        notes.append(f"translated by way of {LANGUAGES[generation.via]}")
    notes += [f"{note} ({s.source[:60]})" for s in generation.sentences for note in s.notes]
    return notes


def run_verify(options: argparse.Namespace) -> None:
    import mtgen
    from mtgen.marks.verify import read_file, text_of

    if (options.text is None) == (options.file is None):
        raise BadRequestError("give a file, '-' for standard input, or --text with a text")
    what = Path(options.file) if options.file not in (None, "-") else options.text
    if what is None:
        what = typed("-")
    beside = {
        name: text_of(read_file(Path(path)), Path(path).name)
        for name in ("original", "prompt")
        if (path := getattr(options, name))
    }
    found = mtgen.load(options.trunk).verify(what, thorough=options.thorough, **beside)
    if options.json:
        print_json(found.as_dict())
        return
    print(found.summary)
    best = found.text_tests[0] if found.text_tests else None
    for part in best.parts if best and found.verdict == "marked" else ():
        print(f"marked from character {part.start:,} to {part.end:,} (p = {part.p_value:.1g})")
    for limit in found.limits:
        print(f"note: {limit}", file=sys.stderr)


def run_keys(options: argparse.Namespace) -> None:
    import datetime

    from mtgen.marks import keys

    if bool((options.host or "").strip()) != (options.action == "add"):
        raise BadRequestError("--host NAME goes with 'add', which needs it")
    if options.action == "rotate":
        keys.rotate()
    elif options.action == "add":
        secret = keys.parse_key(typed("-"), "standard input")
        keys.add(keys.MarkKey(secret, datetime.date.today().isoformat(), options.host))
    ring = keys.load_keys()
    note = ring.note
    if options.action == "rotate" and os.environ.get(keys.KEY_ENV):
        note = f"{keys.KEY_ENV} is set and still marks; the new key does once that is gone"
    elif options.action == "rotate":
        note = "a page that runs marks with the former key until it is started again"
    rows = [
        {"fingerprint": key.fingerprint, "made": key.made, "host": key.host,
         "marks": key == ring.current} for key in ring.all
    ]  # fmt: skip
    if options.json:
        print_json({"keys": rows, "note": note})
        return
    for row in rows:
        use = "marks and verifies" if row["marks"] else "verifies"
        print(f"{row['fingerprint']}  {row['made'] or 'no date':10}  {use}  {row['host']}".rstrip())
    if note:
        print(f"note: {note}", file=sys.stderr)


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        BadRequestError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequestError(f"{path} cannot be read: {error.strerror}") from None


def run_image(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    import mtgen
    from mtgen.png import read_settings, save_picture, settings_of

    names = {field.name for field in dataclasses.fields(ImageRequest)}
    given = {name: value for name, value in vars(options).items() if name in names}
    if "prompt" in given:
        given["prompt"] = typed(given["prompt"])
    was = None
    source: Path | None = options.source
    if source is not None:
        was = read_settings(source)
        if was.is_sheet:
            raise BadRequestError(
                f"{source.name} is a sheet of {len(was.seeds) * len(was.guidance_scales)} "
                "pictures; name one by --seed and --guidance, with its prompt instead of --from"
            )
        request = dataclasses.replace(was.request, **given)
    elif "prompt" in given:
        request = ImageRequest(**given)
    else:
        raise BadRequestError("give a prompt, or --from with a picture to draw again")
    check_target(options.out)

    pipeline = mtgen.load(options.trunk, weights=options.weights)
    stream = pipeline.image_stream(request)
    with tqdm(total=request.num_inference_steps, desc="drawing", unit="step", disable=None) as bar:
        for preview in stream:
            bar.total = preview.num_steps
            bar.update()
    generation = stream.generation
    paths = targets(options.out, generation)
    for index, (path, image) in enumerate(zip(paths, generation.images, strict=True)):
        save_picture(path, image, settings_of(generation, index), pipeline.signer)
    if source and was and was.model != generation.model:
        print(
            f"note: {source.name} was drawn by {was.model} and this by "
            f"{generation.model}: the pictures differ",
            file=sys.stderr,
        )
    if options.json:
        print_json({**generation.as_dict(), "files": [str(path) for path in paths]})
        return
    print(*paths, sep="\n")
    count, seconds = len(paths), generation.timings.total_s
    print(
        f"{count} picture{'s' if count != 1 else ''} in {seconds:.1f} s, "
        f"seed {', '.join(map(str, generation.seeds))}",
        file=sys.stderr,
    )


def check_target(out: Path | None) -> None:
    """Refuses a file that cannot be written, before anything is drawn.

    Raises:
        BadRequestError: not a name of a PNG or JPEG file in a folder that is there.
        CacheWriteError: the folder cannot be written to.
    """
    from mtgen.png import KINDS

    folder = Path() if out is None else out if out.is_dir() else out.parent
    if out is not None and out != folder and out.suffix.lower() not in KINDS:
        raise BadRequestError(f"{out} must end in {', '.join(KINDS)}")
    if not folder.is_dir():
        raise BadRequestError(f"cannot write to {folder}: there is no such folder; make it first")
    if not os.access(folder, os.W_OK):
        raise CacheWriteError(f"cannot write to {folder.resolve()}: choose another place with -o")


def targets(out: Path | None, generation: ImageGeneration) -> list[Path]:
    """Where each picture goes; names that we choose never replace a file."""
    from mtgen.png import file_name, settings_of

    count = len(generation.images)
    if out is not None and not out.is_dir():
        if count == 1:
            return [out]
        return [out.with_stem(f"{out.stem}-{number}") for number in range(1, count + 1)]
    paths = []
    for index in range(count):
        name = (out or Path()) / file_name(settings_of(generation, index).request)
        path, number = name, 1
        while path.exists():
            number += 1
            path = name.with_stem(f"{name.stem}-{number}")
        paths.append(path)
    return paths


def run_bench(options: argparse.Namespace) -> None:
    from mtgen.engine.bench import TASKS, bench, table

    result = bench(
        options.trunk, weights=options.weights, tasks=options.task or TASKS,
        rounds=options.rounds, num_tokens=options.tokens, num_sentences=options.sentences,
    )  # fmt: skip
    if options.json:
        print_json(result)
    else:
        print(table(result))


def run_export(options: argparse.Namespace) -> None:
    from mtgen.model.export import export
    from mtgen.model.trunk import find_trunk

    files = export(find_trunk(options.trunk), options.out, options.dtype)
    if options.json:
        print_json({"files": [str(path) for path in files]})
    else:
        print(*files, sep="\n")


def main(arguments: list[str]) -> None:
    options = build_parser().parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    sys.exit(run(main))
