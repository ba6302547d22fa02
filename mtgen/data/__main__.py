"""`python -m mtgen.data`: builds, documents and packs the training data."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from mtgen.cli import Parser, print_json, run
from mtgen.errors import BadRequestError, MtgenError

SETS = ("images", "parallel", "text")
LIBRARIES = ("PIL", "lxml", "polib", "pyarrow", "rensa", "resvg_py")


def parser() -> Parser:
    top = Parser(
        prog="python -m mtgen.data",
        description="Training data from public packages: pictures, parallel text, prose.",
    )
    commands = top.add_subparsers(dest="command", required=True, parser_class=Parser)
    build = commands.add_parser(
        "build",
        help="collect, clean, de-duplicate, document and pack one set",
        epilog="Exit code 0: complete; 3: built, but without the sources that are named; "
        "2: bad request; 1: failed. What was downloaded and read is kept, so that the next "
        "try goes on there.",
    )
    build.add_argument("set", choices=SETS)
    build.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    build.add_argument(
        "--only", action="append", default=[], metavar="SOURCE",
        help="build from this source alone; may be repeated",
    )  # fmt: skip
    build.add_argument(
        "--licenses", default="all", metavar="WHICH",
        help="all, share-alike or permissive: what the sources' licences may ask for",
    )  # fmt: skip
    build.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N",
        help="processes; the result does not depend on it",
    )  # fmt: skip
    build.add_argument(
        "--max-download-mb", type=float, metavar="MB",
        help="leave out, and name, sources that would download more",
    )  # fmt: skip
    build.add_argument("--seed", type=int, default=0, help="of samples and packing order")
    build.add_argument("--pack", type=Path, metavar="DIR", help="also write the packed form here")
    build.add_argument(
        "--tatoeba", type=Path, metavar="DIR",
        help="parallel only: folder with en-fr.tsv, en-de.tsv, en-es.tsv from tatoeba.org",
    )  # fmt: skip
    build.add_argument("--json", action="store_true", help="print the manifest as one object")
    check = commands.add_parser(
        "check", help="prove that built data is whole and that nothing held out is in training"
    )
    check.add_argument("out", type=Path, metavar="DIR", help="what build --out was given")
    check.add_argument("--json", action="store_true")
    rate = commands.add_parser("rate", help="measure how fast packed pictures can be fed")
    rate.add_argument("pack", type=Path, metavar="DIR", help="what build --pack was given")
    rate.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    rate.add_argument("--size-px", type=int, default=256, metavar="N", help="side of the samples")
    rate.add_argument("--seconds", type=float, default=60, metavar="S")
    rate.add_argument("--json", action="store_true")
    sheets = commands.add_parser(
        "sheets", help="draw contact sheets: every source, kind and scene category, to look at"
    )
    sheets.add_argument("pack", type=Path, metavar="DIR", help="what build --pack was given")
    sheets.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the PNGs")
    sheets.add_argument("--seed", type=int, default=0)
    vocabulary = commands.add_parser(
        "vocabulary", help="list the tokens that each target language needs, for quick translation"
    )
    vocabulary.add_argument("pack", type=Path, metavar="DIR", help="what build --pack was given")
    vocabulary.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    vocabulary.add_argument(
        "--least", type=int, default=3, metavar="N", help="times that a token must stand there"
    )
    sources = commands.add_parser("sources", help="list the sources of a set")
    sources.add_argument("set", choices=SETS)
    sources.add_argument("--json", action="store_true")
    lock = commands.add_parser(
        "lock", help="for maintainers: pin packages, or renew their pins, in packages.lock.json"
    )
    lock.add_argument("packages", nargs="+", metavar="KIND:NAME[@VERSION]")
    hold_out = commands.add_parser(
        "hold-out", help="for maintainers: keep these sentences out of training for good"
    )
    hold_out.add_argument("files", nargs="+", type=Path, metavar="FILE.parquet|FILE.txt")
    return top


def main(arguments: list[str]) -> int | None:
    chosen = parser().parse_args(arguments)
    missing_libraries = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing_libraries:
        raise MtgenError(
            f"{', '.join(missing_libraries)} cannot be imported; "
            "'pip install -r requirements-data.txt' brings what data building needs"
        )
    from mtgen.data.packages import PackageStore, make_lock

    if chosen.command == "lock":
        make_lock(chosen.packages, PackageStore())
        return None
    if chosen.command == "sheets":
        from mtgen.data.images.sheets import draw_sheets

        for path in draw_sheets(chosen.pack, chosen.out, seed=chosen.seed):
            print(path)
        return None
    if chosen.command == "rate":
        from mtgen.data.loader import measure

        found = measure(
            chosen.pack, num_workers=chosen.workers, seconds=chosen.seconds, size_px=chosen.size_px
        )
        record = {"pictures_per_s": round(found, 1), "workers": chosen.workers}
        if chosen.json:
            print_json(record | {"size_px": chosen.size_px})
        else:
            print(f"{found:,.0f} pictures/s of {chosen.size_px} px with {chosen.workers} workers")
        return None
    if chosen.command == "vocabulary":
        from mtgen.data.vocabulary import write_vocabulary
        from mtgen.model.trunk import find_trunk

        found = write_vocabulary(chosen.pack, chosen.out, find_trunk(), chosen.least)
        for lang, count in found.items():
            print(f"{lang}: {count:,} tokens")
        return None
    if chosen.command == "hold-out":
        from mtgen.data.parallel.held_out import read_sentences, write_hashes

        count = write_hashes(text for file in chosen.files for text in read_sentences(file))
        print(f"{count:,} sentences are held out")
        return None
    if chosen.command == "check":
        from mtgen.data.check import check

        findings = check(chosen.out)
        if chosen.json:
            print_json(findings)
        else:
            for name, text in findings["sets"].items():
                print(f"{name}: {text}")
        return None
    if chosen.command == "sources":
        return list_sources(chosen.set, as_json=chosen.json)

    from mtgen.data.build import INCOMPLETE, BuildOptions

    if chosen.tatoeba and chosen.set != "parallel":
        raise BadRequestError("--tatoeba goes with 'build parallel' only")
    options = BuildOptions(
        out=chosen.out, only=chosen.only, licenses=chosen.licenses, workers=chosen.workers,
        max_download_mb=chosen.max_download_mb, seed=chosen.seed, tatoeba=chosen.tatoeba,
    )  # fmt: skip
    manifest, missing = builder(chosen.set)(options, PackageStore())
    for item in missing:
        print(item.sentence(), file=sys.stderr)
    if chosen.pack:
        from mtgen.data.pack import pack

        manifest["packed"] = pack(chosen.set, chosen.out, chosen.pack, seed=chosen.seed)
    if chosen.json:
        print_json(manifest)
    else:
        for name, entry in manifest["files"].items():
            size = entry["size_bytes"] / 1e6
            print(f"{chosen.out / chosen.set / name}  {entry['rows']:,} rows, {size:.1f} MB")
    return None if manifest["complete"] else INCOMPLETE


def builder(kind: str):
    """The function that builds a set."""
    if kind == "images":
        from mtgen.data.images.build import build
    elif kind == "parallel":
        from mtgen.data.parallel.build import build
    else:
        from mtgen.data.prose.build import build
    return build


def list_sources(kind: str, *, as_json: bool) -> None:
    """Shows what a set is made from."""
    if kind == "images":
        from mtgen.data.images.sources import SOURCES
    elif kind == "parallel":
        from mtgen.data.parallel.sources import SOURCES, TATOEBA

        SOURCES = (*SOURCES, TATOEBA)
    else:
        from mtgen.data.prose.build import SOURCES
    from mtgen.data.packages import read_lock

    pins = read_lock()
    rows = [
        {
            "name": source.name, "licence": source.licence, "licence_family": source.family,
            "packages": list(source.packages), "expected_rows": source.expected,
            "download_mb": round(sum(pins[spec].size_bytes for spec in source.packages) / 1e6, 1),
            "credit": source.credit,
        }
        for source in SOURCES
    ]  # fmt: skip
    if as_json:
        print_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    print(f"{'source':<{width}}  {'rows':>8}  {'MB':>6}  licence")
    for row in rows:
        print(
            f"{row['name']:<{width}}  {row['expected_rows']:>8,}  {row['download_mb']:>6}  "
            f"{row['licence']} ({row['licence_family']})"
        )


if __name__ == "__main__":
    sys.exit(run(main))
