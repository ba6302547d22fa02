"""`python -m mtgen bench`: our speed beside others' and beside what the machine can do.

All contestants are measured in one process, in turns, so that a machine which slows down slows all
of them down, and medians are reported. A yardstick that is not installed is left out.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from tqdm import tqdm

from mtgen.engine import yardsticks
from mtgen.engine.runtime import Runtime, use_all_cores
from mtgen.engine.yardsticks import Run
from mtgen.errors import SettingError
from mtgen.model.tokenizer import translation_prompt
from mtgen.pipeline import Pipeline
from mtgen.requests import Message, TextRequest, TranslationRequest, check_number

PROMPT = "Explain in a few paragraphs how a lighthouse helps ships at night."
LONG_PROMPT = " ".join(
    f"Point {n}: the keeper wrote down the wind, the sea and every ship that passed." for n in
    range(1, 16)
)  # fmt: skip
"""Some three hundred tokens."""
PICTURE = "a red apple on a table"
STREAMS = 8
SOURCE, TARGET = "en", "de"
PARTS = (
    ("The old gardener", "My younger sister", "Our new neighbour", "The tired doctor",
     "A friendly waiter"),
    ("carried", "found", "repaired", "sold", "painted"),
    ("a small table", "two wooden chairs", "the blue bicycle", "an old clock"),
    ("in the kitchen", "near the station", "behind the house", "at the market",
     "under the bridge"),
    ("yesterday evening", "last summer"),
)  # fmt: skip
"""Whose combinations are 1,000 sentences of ten to twelve words."""
TASKS = ("text", "translate", "image", "start")
"""What is measured unless something is asked for; `scaling` is measured only then."""
OURS = "mtgen"


@dataclass(frozen=True)
class Row:
    """One measurement of the table."""

    task: str
    what: str
    unit: str
    values: dict[str, float]
    """By contestant; ours is `mtgen`."""
    ratios: dict[str, float]
    """How many times as good ours is, by contestant; medians of ratios within rounds."""
    floor: float | None = None
    """Which share ours is of what the machine could do, 0..1: of tokens one by one, how fast it
    reads memory; of a prompt, how fast it multiplies."""


def sentences(count: int) -> list[str]:
    """Different sentences, up to 1,000, no two neighbours alike."""
    made = [" ".join(parts) + "." for parts in itertools.product(*PARTS)]
    return [made[n * 337 % len(made)] for n in range(count)]


def memory_speed() -> float:
    """Bytes a second that all threads read together: a sum over more than fits into caches."""
    data = torch.ones(64 * 2**20)
    return data.nbytes / min(timed(data.sum) for _ in range(8))


def product_speed() -> float:
    """Multiplications with addition a second, of int8: oneDNN's product of large matrices."""
    a, b = (torch.ones(2048, 2048, dtype=torch.int8) for _ in range(2))
    return 2048**3 / min(timed(lambda: torch.ops.aten._int_mm(a, b)) for _ in range(6))


def timed(work: Callable[[], Any]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def interleaved(
    runs: Mapping[str, Callable[[], float]], rounds: int, title: str
) -> dict[str, list[float]]:
    """What each contestant gives, round by round, after one round to warm up."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    total = (rounds + 1) * len(runs)
    with tqdm(total=total, desc=title, disable=None) as bar:
        for index in range(rounds + 1):
            for name, run in runs.items():
                value = run()
                bar.update()
                if index:
                    found[name].append(value)
    return found


def row(
    task: str, what: str, unit: str, found: Mapping[str, list[float]], *, floor: float | None = None
) -> Row:
    """Medians, and ratios in which more is better for us; seconds count the other way round."""
    ours = found[OURS]

    def ratio(theirs: list[float]) -> float:
        pairs = zip(ours, theirs, strict=True)
        return statistics.median(b / a if unit == "s" else a / b for a, b in pairs)

    return Row(
        task, what, unit, {name: statistics.median(x) for name, x in found.items()},
        {name: ratio(x) for name, x in found.items() if name != OURS},
        floor and floor * (1 / statistics.median(ours) if unit == "s" else statistics.median(ours)),
    )  # fmt: skip


def greedy(runtime: Runtime, prompt: list[int], num_tokens: int) -> Run:
    """Greedy decoding with our runtime, never stopping early."""

    def once() -> tuple[float, float]:
        started = time.perf_counter()
        cache = runtime.new_cache(len(prompt) + num_tokens - 1)
        tokens = runtime.generate(
            torch.tensor(prompt), cache, lambda logits: int(logits.argmax()), threading.Event()
        )
        next(tokens)
        first = time.perf_counter()
        for _ in tokens:
            pass
        return first - started, time.perf_counter() - first

    return once


def bench_text(
    pipeline: Pipeline, rounds: int, num_tokens: int, read: float, products: float
) -> list[Row]:
    """One stream, its first token, many streams, and what marking costs."""
    runtime, tokenizer = pipeline.runtime, pipeline.tokenizer
    prompts = {
        name: tokenizer.encode_chat([Message(role="user", content=text)])
        for name, text in (("short", PROMPT), ("long", LONG_PROMPT))
    }
    rows = []
    for name, prompt in prompts.items():
        makers: dict[str, Run] = {OURS: greedy(runtime, prompt, num_tokens)}
        if yardsticks.is_installed("llama_cpp"):
            kept = pipeline.folder.parent
            makers["llama.cpp"] = yardsticks.llama_cpp(kept, prompt, num_tokens)
        if name == "short":
            makers["transformers"] = yardsticks.transformers_float32(
                pipeline.folder, prompt, num_tokens
            )
        firsts: dict[str, list[float]] = {maker: [] for maker in makers}

        def speed(maker: str, makers: Any = makers, firsts: Any = firsts) -> float:
            first, rest = makers[maker]()
            firsts[maker].append(first)
            return (num_tokens - 1) / rest

        runs = {maker: (lambda maker=maker, speed=speed: speed(maker)) for maker in makers}
        found = interleaved(runs, rounds, f"text, {name} prompt")
        kernels = runtime.schedule.trunk if runtime.schedule is not None else None
        floor = kernels and kernels.num_bytes / read
        what = f"decoding after {len(prompt)} tokens"
        rows.append(row("text", what, "tokens/s", found, floor=floor))
        firsts = {maker: some[1:] for maker, some in firsts.items()}
        floor = kernels and kernels.num_products(len(prompt)) / products
        rows.append(row("text", f"first token after {len(prompt)}", "s", firsts, floor=floor))

    def pace(count: int, mark: str = "gumbel") -> float:
        return pace_of_streams(pipeline, count, num_tokens, mark)

    found = interleaved(
        {OURS: lambda: pace(1), "without a mark": lambda: pace(1, "none")}, rounds, "marks"
    )
    rows.append(row("text", "sampled and marked", "tokens/s", found))
    found = interleaved(
        {OURS: lambda: pace(STREAMS), "one stream": lambda: pace(1)}, rounds, "streams"
    )
    rows.append(row("text", f"{STREAMS} streams together", "tokens/s", found))
    return rows


def pace_of_streams(pipeline: Pipeline, count: int, num_tokens: int, mark: str = "gumbel") -> float:
    """Tokens a second of so many texts together."""

    def written(number: int) -> int:
        request = TextRequest(
            prompt=f"Tell me about the number {number}.", seed=number, max_new_tokens=num_tokens,
            temperature=0.8, mark=mark,
        )  # fmt: skip
        return pipeline.text_stream(request).generation.timings.num_new_tokens

    with ThreadPoolExecutor(count) as pool:
        began = time.perf_counter()
        made = sum(pool.map(written, range(count)))
        return made / (time.perf_counter() - began)


def counted(number: int, noun: str) -> str:
    """`1 stream`, `8 streams together`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s together"


def bench_scaling(pipeline: Pipeline, rounds: int, num_tokens: int) -> list[Row]:
    """What longer prompts, more streams, more sentences and other pictures cost."""
    runtime, tokenizer = pipeline.runtime, pipeline.tokenizer
    story = tokenizer.encode(" ".join(sentences(500)))
    room = runtime.config.context_length - num_tokens
    firsts: dict[str, list[float]] = {}

    def after(length: int) -> float:
        prompt = [tokenizer.document_start_id, *story[: length - 1]]
        first, rest = greedy(runtime, prompt, num_tokens)()
        firsts.setdefault(f"decoding after {length} tokens", []).append(first)
        return (num_tokens - 1) / rest

    def translated(count: int) -> float:
        some = sentences(count)
        return count / timed(lambda: pipeline.translate_all(some, source=SOURCE, target=TARGET))

    def drawn(**settings: Any) -> Callable[[], float]:
        return lambda: pipeline.image(PICTURE, seed=1, **settings).timings.total_s

    def measured(unit: str, points: dict[str, Callable[[], float]]) -> list[Row]:
        found = interleaved(points, rounds, unit)
        return [row("scaling", what, unit, {OURS: values}) for what, values in found.items()]

    rows = measured("tokens/s", {
        f"decoding after {n} tokens": lambda n=n: after(n)
        for n in (16, 64, 256, 1024, 4096) if n <= room
    })  # fmt: skip
    rows += [
        row("scaling", what.replace("decoding", "first token"), "s", {OURS: values[1:]})
        for what, values in firsts.items()
    ]
    rows += measured("tokens/s", {
        counted(n, "stream"): lambda n=n: pace_of_streams(pipeline, n, num_tokens)
        for n in (1, 2, 4, 8, 16, 32)
    })  # fmt: skip
    rows += measured(
        "sentences/s", {counted(n, "sentence"): lambda n=n: translated(n) for n in (1, 8, 32, 200)}
    )
    return rows + measured("s", {
        **{counted(n, "picture"): drawn(num_images=n) for n in (1, 2, 4)},
        "1 picture of 128 px": drawn(size_px=128),
        **{f"1 picture in {n} rounds": drawn(num_inference_steps=n) for n in (4, 64)},
    })  # fmt: skip


def bench_translation(pipeline: Pipeline, rounds: int, count: int) -> list[Row]:
    """One sentence, and many at once."""
    many = sentences(count)
    expert, tokenizer = pipeline.translation_expert(), pipeline.tokenizer
    num_beams = TranslationRequest.num_beams
    one = {
        OURS: lambda: timed(lambda: pipeline.translate(many[0], source=SOURCE, target=TARGET)),
        "greedy": lambda: timed(
            lambda: pipeline.translate(many[0], source=SOURCE, target=TARGET, num_beams=1)
        ),
    }
    rows = [row("translate", "one sentence", "s", interleaved(one, rounds, "one sentence"))]

    def ours(**settings: Any) -> float:
        work = lambda: pipeline.translate_all(many, source=SOURCE, target=TARGET, **settings)  # noqa: E731
        return len(many) / timed(work)

    runs: dict[str, Callable[[], float]] = {OURS: ours, "greedy": lambda: ours(num_beams=1)}
    if yardsticks.is_installed("ctranslate2"):
        once = yardsticks.ctranslate2_int8(pipeline.folder, expert, num_beams, 32)
        coded = [tokenizer.encode(text) for text in many]
        prompts = [translation_prompt(ids, SOURCE, TARGET, tokenizer) for ids in coded]
        limits = [2 * len(ids) + 12 for ids in coded]
        ends = sorted(tokenizer.eos_ids)
        runs["CTranslate2 int8"] = lambda: len(many) / once(prompts, limits, ends)
    found = interleaved(runs, max(rounds // 2, 1), f"{count} sentences")
    rows.append(row("translate", f"{count} sentences, {num_beams} beams", "sentences/s", found))
    return rows


def bench_image(pipeline: Pipeline, rounds: int) -> list[Row]:
    """One picture, its first preview, four pictures."""
    previews: list[float] = []

    def one() -> float:
        timings = pipeline.image(PICTURE, seed=1).timings
        previews.append(timings.first_preview_s)
        return timings.total_s

    found = interleaved(
        {OURS: one, "a fourth of four": lambda: pipeline.image(
            PICTURE, seed=1, num_images=4).timings.total_s / 4},
        rounds, "pictures",
    )  # fmt: skip
    return [
        row("image", "one picture of 256 px", "s", found),
        row("image", "first preview", "s", {OURS: previews[1:]}),
    ]


def bench_start(pipeline: Pipeline, rounds: int) -> list[Row]:
    """From the start of a process to the page, and to the first token in the shell."""

    def page() -> float:
        import socket

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "app.py", "--port", str(port), "--trunk", str(pipeline.folder)]
        root = Path(__file__).parents[2]
        began = time.perf_counter()
        with subprocess.Popen(
            command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                while process.poll() is None and time.perf_counter() - began < 60:
                    try:
                        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                        return time.perf_counter() - began
                    except OSError:
                        time.sleep(0.02)
            finally:
                process.terminate()
        raise SettingError("the page did not start; run 'python app.py' to see why")

    def token() -> float:
        command = [
            sys.executable, "-m", "mtgen", "text", PROMPT, "--max-new-tokens", "1", "--trunk",
            str(pipeline.folder),
        ]  # fmt: skip
        return timed(lambda: subprocess.run(command, check=True, capture_output=True))

    found = interleaved({OURS: page}, max(rounds // 2, 1), "page")
    first = interleaved({OURS: token}, max(rounds // 2, 1), "first token")
    return [
        row("start", "process to page", "s", found),
        row("start", "process to first token", "s", first),
    ]


def bench(
    trunk: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    tasks: Collection[str] = TASKS,
    rounds: int = 5,
    num_tokens: int = 64,
    num_sentences: int = 200,
) -> dict[str, Any]:
    """Measures all contestants.

    Args:
        trunk: As in `mtgen.load`.
        weights: Folder of the experts; None is this release's.
        tasks: Of TASKS, and "scaling".
        rounds: Interleaved rounds after one to warm up, 1..100.
        num_tokens: New tokens a round, 2..1024.
        num_sentences: Translated in batches, 1..1000.

    Returns:
        JSON-ready: the machine, and the fields of each `Row`.
    """
    check_number("rounds", rounds, 1, 100, integer=True)
    check_number("tokens", num_tokens, 2, 1024, integer=True)
    check_number("sentences", num_sentences, 1, 1000, integer=True)
    import mtgen

    use_all_cores()
    began = time.perf_counter()
    pipeline = mtgen.load(trunk, weights=weights)
    load_s = time.perf_counter() - began
    read, products = memory_speed(), product_speed()
    process, rows, resident = psutil.Process(), [], {}
    measure = {
        "text": lambda: bench_text(pipeline, rounds, num_tokens, read, products),
        "translate": lambda: bench_translation(pipeline, rounds, num_sentences),
        "image": lambda: bench_image(pipeline, rounds),
        "start": lambda: bench_start(pipeline, rounds),
        "scaling": lambda: bench_scaling(pipeline, rounds, num_tokens),
    }
    if "image" in tasks:
        pipeline.image(PICTURE, seed=1)
    if "translate" in tasks:
        pipeline.translate(sentences(1)[0], source=SOURCE, target=TARGET)
    pipeline.text(PROMPT, max_new_tokens=8, seed=1)
    resident["after the first answer of each"] = process.memory_info().rss / 1e6
    for task, work in measure.items():
        if task in tasks:
            rows += work()
    return {
        "model": pipeline.model,
        "threads": torch.get_num_threads(),
        "native": pipeline.runtime.is_native,
        "rounds": rounds,
        "load_s": load_s,
        "resident_mb": resident,
        "memory_gb_per_s": read / 1e9,
        "int8_gmac_per_s": products / 1e9,
        "rows": [asdict(row) for row in rows],
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    kind = "own kernels" if result["native"] else "torch"
    lines = [
        f"{result['model']}, {kind}, {result['threads']} threads; medians of {result['rounds']} "
        "interleaved rounds",
        f"memory read {result['memory_gb_per_s']:.0f} GB/s, int8 products "
        f"{result['int8_gmac_per_s']:.0f} GMAC/s",
        *(f"{size:.0f} MB resident {when}" for when, size in result["resident_mb"].items()),
        "",
    ]
    for row in result["rows"]:
        ours = f"{row['values'][OURS]:.{3 if row['unit'] == 's' else 1}f} {row['unit']}"
        floor = "" if row["floor"] is None else f"  {row['floor']:.0%} of what the machine allows"
        lines.append(f"{row['task']:9}  {row['what']:32}  {ours:>16}{floor}")
        for name, ratio in row["ratios"].items():
            theirs = f"{row['values'][name]:.{3 if row['unit'] == 's' else 1}f} {row['unit']}"
            lines.append(f"{'':9}    {name:30}  {theirs:>16}  {ratio:4.2f}x")
    return "\n".join(lines)
