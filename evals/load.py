"""A load test of a running page: `python -m evals.load --url http://127.0.0.1:7860 --users 20`.

Users ask for texts, translations and pictures at random, each the next thing as soon as the last
one is there, by the page's own API (`gradio_client`). Every seed is asked for many times, and what
comes must be the same each time. With `--pid` the server's memory is followed.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtgen.cli import Parser, print_json, run
from mtgen.errors import BadRequestError
from mtgen.requests import check_number

TEXTS = (
    "Tell me a story about a lighthouse.", "What is a good breakfast?", "Why is the sky blue?",
    "Write a short letter to a friend.", "How do bees make honey?",
)  # fmt: skip
SENTENCES = (
    "The old gardener carried a small table into the kitchen. Nobody saw him.",
    "My sister repaired the blue bicycle near the station.",
    "We will meet at the market tomorrow morning, if it does not rain.",
    "The tired doctor sold two wooden chairs. He kept the old clock.",
)
PICTURES = ("a red apple", "a cat", "a slice of pizza", "a robot")
SEEDS = range(3)
SAMPLE_S = 2.0
"""Seconds between two looks at the server's memory."""
SETTLED_S = 300.0
"""From when on memory is to stay: caches are filled by then."""


@dataclass(frozen=True)
class Answer:
    """One request that is over."""

    task: str
    user: int
    began_s: float
    took_s: float
    first_s: float | None
    """Seconds to the first of it that was shown."""
    key: str
    """What was asked, seed included."""
    digest: str | None
    """Of what came."""
    error: str | None


def asked(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A task at random, and the arguments of its endpoint."""
    task = rng.choices(("text", "translate", "image"), (5, 4, 1))[0]
    seed = rng.choice(SEEDS)
    if task == "text":
        tokens = rng.choice((40, 120, 200))
        return task, {"prompt": rng.choice(TEXTS), "max_new_tokens": tokens, "seed": seed}
    if task == "translate":
        target = rng.choice(("fr", "de", "es"))
        return task, {"text": rng.choice(SENTENCES), "target": target, "source": "en"}
    return task, {"prompt": rng.choice(PICTURES), "seed": seed}


def digest(task: str, result: dict[str, Any]) -> str:
    """Of a text, or of the pixels of a picture: its file is signed anew each time."""
    if task != "image":
        return hashlib.sha256(result["text"].encode()).hexdigest()[:16]
    from PIL import Image

    shown = result["images"][0]
    path = shown["path"] if isinstance(shown, dict) else shown
    with Image.open(path) as image:
        return hashlib.sha256(image.tobytes()).hexdigest()[:16]


class Load:
    """Users at work, and what they got."""

    def __init__(self, url: str, users: int, seconds: float, out: Path, seed: int = 0) -> None:
        self.url, self.users, self.seconds, self.out, self.seed = url, users, seconds, out, seed
        self.answers: list[Answer] = []
        self.memory: list[tuple[float, float]] = []
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def one_user(self, number: int) -> None:
        from gradio_client import Client

        client = Client(self.url, verbose=False, download_files=str(self.out / "files"))
        rng = random.Random(self.seed * 1000 + number)
        while time.monotonic() - self._began < self.seconds:
            self.note(self.one_request(client, number, *asked(rng)))

    def one_request(self, client: Any, user: int, task: str, arguments: dict[str, Any]) -> Answer:
        began = time.monotonic()
        first, found, error = None, None, None
        try:
            job = client.submit(**arguments, api_name=f"/{task}")
            for _ in job:
                first = first or time.monotonic() - began
            found = digest(task, job.outputs()[-1])
        except Exception as failed:
            error = f"{type(failed).__name__}: {failed}"
        return Answer(
            task, user, began - self._began, time.monotonic() - began, first,
            json.dumps([task, arguments], sort_keys=True), found, error,
        )  # fmt: skip

    def note(self, answer: Answer) -> None:
        with self._lock:
            self.answers.append(answer)
            with (self.out / "answers.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(answer)) + "\n")

    @contextmanager
    def followed(self, pid: int | None) -> Iterator[None]:
        """Looks at the server's memory meanwhile."""
        over = threading.Event()

        def follow(process: Any) -> None:
            while not over.wait(SAMPLE_S):
                at = time.monotonic() - self._began
                self.memory.append((at, process.memory_info().rss / 1e6))

        if pid is None:
            yield
            return
        import psutil

        thread = threading.Thread(target=follow, args=(psutil.Process(pid),), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def run(self, pid: int | None) -> None:
        """Lets all users work until the time is over, and the last answers are there."""
        from tqdm import tqdm

        self.out.mkdir(parents=True, exist_ok=True)
        self._began = time.monotonic()
        threads = [
            threading.Thread(target=self.one_user, args=(number,), daemon=True)
            for number in range(self.users)
        ]
        with self.followed(pid), tqdm(total=int(self.seconds), unit="s", disable=None) as bar:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                time.sleep(1)
                bar.n = min(int(time.monotonic() - self._began), bar.total)
                bar.set_postfix(answers=len(self.answers))


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99."""
    return {f"p{p}": round(float(np.percentile(seconds, p)), 3) for p in (50, 95, 99)}


def summary(answers: list[Answer], memory: list[tuple[float, float]]) -> dict[str, Any]:
    """What the users saw.

    Returns:
        By task: answers, seconds to the first of it and to the whole; errors by their words; what
        one question gave more than one answer; memory after SETTLED_S and at the end, in MB.
    """
    by_task: dict[str, list[Answer]] = defaultdict(list)
    outcomes: dict[str, set[str]] = defaultdict(set)
    for answer in answers:
        by_task[answer.task].append(answer)
        if answer.digest:
            outcomes[answer.key].add(answer.digest)
    tasks = {}
    for task, some in sorted(by_task.items()):
        fine = [answer for answer in some if answer.error is None]
        if fine:
            tasks[task] = {
                "answers": len(fine),
                "first_s": percentiles([answer.first_s or answer.took_s for answer in fine]),
                "whole_s": percentiles([answer.took_s for answer in fine]),
            }
    settled = [size for at, size in memory if at >= SETTLED_S]
    growth = None
    if len(settled) >= 10:
        tenth = max(len(settled) // 10, 1)
        early, late = np.median(settled[:tenth]), np.median(settled[-tenth:])
        growth = {
            "after_mb": round(float(early)), "at_end_mb": round(float(late)),
            "growth": round(float(late / early - 1), 4), "most_mb": round(max(settled)),
        }  # fmt: skip
    return {
        "tasks": tasks,
        "errors": dict(Counter(answer.error for answer in answers if answer.error)),
        "questions": len(outcomes),
        "questions_with_several_answers": sum(len(found) > 1 for found in outcomes.values()),
        "memory": growth,
    }


def plot(answers: list[Answer], memory: list[tuple[float, float]], path: Path) -> None:
    """Waiting by time, and memory by time."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, (upper, lower) = plt.subplots(2, 1, figsize=(9, 6), sharex=True)
    for task in sorted({answer.task for answer in answers}):
        some = [a for a in answers if a.task == task and a.error is None]
        upper.plot([a.began_s / 60 for a in some], [a.took_s for a in some], ".", ms=3, label=task)
    upper.set_ylabel("seconds to the whole answer")
    upper.legend()
    lower.plot([at / 60 for at, _ in memory], [size for _, size in memory])
    lower.set_ylim(bottom=0)
    lower.set_ylabel("resident memory, MB")
    lower.set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m evals.load", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:7860", help="of the page")
    parser.add_argument("--pid", type=int, help="of its process, to follow its memory")
    parser.add_argument("--users", type=int, default=20, help="at the same time")
    parser.add_argument("--minutes", type=float, default=30, help="how long they go on asking")
    parser.add_argument("--seed", type=int, default=0, help="of what they ask for")
    parser.add_argument("--out", type=Path, default=Path("runs/load"), help="folder of the result")
    options = parser.parse_args(arguments)
    check_number("users", options.users, 1, 200, integer=True)
    check_number("minutes", options.minutes, 0.01, 24 * 60)
    if (options.out / "answers.jsonl").exists():
        raise BadRequestError(f"{options.out} holds a load test already; name another --out")
    load = Load(options.url, options.users, options.minutes * 60, options.out, options.seed)
    load.run(options.pid)
    result = summary(load.answers, load.memory)
    (options.out / "summary.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    plot(load.answers, load.memory, options.out / "load.png")
    print_json(result)


if __name__ == "__main__":
    sys.exit(run(main))
