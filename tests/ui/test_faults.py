"""What goes wrong around the page: it answers afterwards, and what was finished is still there."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import socket
import string
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gradio_client import Client

from mtgen.engine import native
from tests.threads import kill
from tests.ui.conftest import Server, free_port

LONG = {"prompt": "Tell me a long story.", "max_new_tokens": 150, "temperature": 0.0}
SHORT = {"prompt": "Hi", "max_new_tokens": 2}
AT_ONCE = 8


@pytest.fixture(scope="module")
def page(tiny_image_trunk, tiny_weights, tmp_path_factory) -> Iterator[Server]:
    """A page with tiny models that may be mistreated, and a short queue."""
    folder = tmp_path_factory.mktemp("faults")
    models = "--trunk", str(tiny_image_trunk), "--weights", str(tiny_weights)
    env = {
        "GRADIO_TEMP_DIR": str(folder / "files"), "MTGEN_LOG": str(folder / "log.jsonl"),
        "OMP_NUM_THREADS": "1", "MTGEN_QUEUE": "12",
    }  # fmt: skip
    running = Server(*models, log=folder / "log.txt", env=env)
    running.wait()
    yield running
    running.stop()


def ask(page: Server, name: str = "text", **arguments):
    return Client(page.url, verbose=False).predict(**(arguments or SHORT), api_name=f"/{name}")


def answers(page: Server) -> bool:
    """Whether the page is there, and a text and a picture come soon."""
    began = time.monotonic()
    assert httpx.get(page.url, timeout=10).status_code == 200
    assert ask(page)["text"] is not None
    assert ask(page, "image", prompt="a cat", num_inference_steps=1)["images"]
    assert time.monotonic() - began < 10
    return page.process.poll() is None


def malformed(rng: random.Random) -> tuple[str, str, dict]:
    """A request that nobody should send: method, path, and what else httpx takes."""
    api = "gradio_api"
    name = rng.choice(["text", "translate", "image", "verify", "runs", "nothing", "a/../b", "%00"])
    values = [
        None, -1, 1e308, "", "x" * 5000, "\ud800", [], {}, [[[]]], {"path": "/etc/passwd"}, True,
        "\x00\x01", {"__type__": "file", "path": "../../etc/passwd"}, float("1e400"),
    ]  # fmt: skip
    some = [rng.choice(values) for _ in range(rng.randrange(12))]
    body = json.dumps({"data": some}).encode("utf-8", "surrogatepass")
    noise = rng.randbytes(rng.randrange(200))
    word = "".join(rng.choices(string.ascii_letters, k=8))
    as_json = {"headers": {"content-type": "application/json"}}
    return rng.choice([
        ("POST", f"/{api}/call/{name}", {"content": body, **as_json}),
        ("POST", f"/{api}/call/{name}", {"content": noise, **as_json}),
        ("POST", f"/{api}/call/{name}", {"content": b"[" * 3000, **as_json}),
        ("POST", f"/{api}/call/{name}", {"content": body[: len(body) // 2], **as_json}),
        ("POST", f"/{api}/call/{name}", {"content": b'{"data": 7}', **as_json}),
        ("GET", f"/{api}/call/{name}/{word}", {}),
        ("POST", f"/{api}/queue/join", {"content": body, **as_json}),
        ("POST", f"/{api}/queue/join", {"json": {"data": some[:0], "fn_index": 10**9}}),
        ("POST", f"/{api}/queue/join", {"json": {"fn_index": "x", "session_hash": [1]}}),
        ("POST", f"/{api}/upload", {"content": noise}),
        ("POST", f"/{api}/upload", {"headers": {"content-type": "multipart/form-data"}}),
        ("GET", f"/{api}/file=/etc/passwd", {}),
        ("GET", f"/{api}/file=../../../../etc/passwd", {}),
        ("GET", f"/{api}/queue/data", {}),
        ("GET", f"/{word}/{word}", {}),
        ("DELETE", "/", {}),
        ("PUT", f"/{api}/call/{name}", {"content": noise}),
        ("POST", "/translate", {"content": body, **as_json}),
        ("POST", "/translate", {"json": {"q": rng.choice([7, None, [1]]), "target": word}}),
        ("POST", "/detect", {"content": noise}),
    ])  # fmt: skip


def send_malformed(page: Server, count: int, seed: int) -> Counter:
    """Sends so many, one after another; which statuses came back."""
    rng, found = random.Random(seed), Counter()
    with httpx.Client(base_url=page.url, timeout=20) as client:
        for number in range(count):
            if number % 50 == 0:  # not even HTTP
                with socket.create_connection(("127.0.0.1", page.port), timeout=5) as raw:
                    raw.sendall(rng.randbytes(300))
            method, path, more = malformed(rng)
            with contextlib.suppress(httpx.TimeoutException):
                with client.stream(method, path, **more) as response:
                    found[response.status_code] += 1
    return found


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_requests_are_refused_and_the_page_answers(page, count):
    assert answers(page)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = sum(
            pool.map(lambda n: send_malformed(page, count // AT_ONCE, n), range(AT_ONCE)), Counter()
        )
    assert sum(found.values()) == count
    assert found[404] > count / 20
    assert found[422] + found[400] > count / 20
    assert answers(page)
    assert "root:" not in page.log.read_text()


def test_half_of_the_connections_drop_and_the_others_get_all(page):
    wanted = ask(page, **LONG)["text"]
    finished, dropped = [], []

    def one(number: int) -> None:
        with httpx.Client(base_url=page.url, timeout=60) as client:
            given = {"data": [LONG["prompt"], None, LONG["max_new_tokens"], 0.0, 1.0, 0, None]}
            path = "/gradio_api/call/text"
            event = client.post(path, json=given).json()["event_id"]
            with client.stream("GET", f"{path}/{event}") as response:
                for line in response.iter_lines():
                    if number % 2 and line.startswith("data"):
                        dropped.append(number)
                        return
                    if line.startswith("event: complete"):
                        finished.append(number)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(one, range(10)))
    assert len(dropped) == 5
    assert len(finished) == 5
    assert ask(page, **LONG)["text"] == wanted
    assert answers(page)


@pytest.mark.slow
def test_a_full_queue_says_so_and_is_empty_afterwards(page):
    clients = [Client(page.url, verbose=False) for _ in range(AT_ONCE)]
    jobs = [
        client.submit(prompt="a boat", num_inference_steps=16, num_images=4, api_name="/image")
        for client in clients
        for _ in range(3)
    ]
    failed = [str(job.exception()) for job in jobs if job.exception() is not None]
    assert failed, "more came than may wait"
    assert all("full" in message.lower() for message in failed), set(failed)
    assert len(failed) < len(jobs), "those that waited were served"
    assert answers(page)


def test_a_full_disk_is_one_sentence_and_what_was_finished_is_still_there(page):
    client = Client(page.url, verbose=False, download_files=False)
    drawn = client.predict(prompt="a red apple", num_inference_steps=1, seed=3, api_name="/image")
    url = drawn["images"][0]["url"]
    before = urllib.request.urlopen(url).read()
    boat = {"prompt": "a blue boat", "num_inference_steps": 1, "seed": 4}
    unlimited = resource.prlimit(page.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(page.process.pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
    try:  # no file can grow any more
        with pytest.raises(Exception, match=r"(?i)disk|space|write|written"):
            client.predict(**boat, api_name="/image")
        assert client.predict(**SHORT, api_name="/text")["text"] is not None
        assert urllib.request.urlopen(url).read() == before
        assert httpx.get(page.url).status_code == 200
    finally:
        resource.prlimit(page.process.pid, resource.RLIMIT_FSIZE, unlimited)
    assert client.predict(**boat, api_name="/image")["images"]
    assert urllib.request.urlopen(url).read() == before
    assert answers(page)


@pytest.fixture(scope="module")
def inside(tiny) -> Iterator[str]:
    """A page in this process, whose threads can be reached."""
    from mtgen.ui import build_app
    from mtgen.ui.model import SharedModel

    model = SharedModel(lambda: tiny)
    page = build_app(model)
    port = free_port()
    page.launch(server_port=port, prevent_thread_lock=True, quiet=True, ssr_mode=False)
    model.start().result()
    yield f"http://127.0.0.1:{port}/"
    page.close(verbose=False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.skipif(native.library() is None, reason="the trunk has no thread of its own then")
def test_a_worker_that_is_killed_takes_nobody_with_it(inside):
    client = Client(inside, verbose=False)
    wanted = client.predict(**LONG, api_name="/text")["text"]
    jobs = [client.submit(**LONG, api_name="/text") for _ in range(4)]
    while not all(job.outputs() or job.done() for job in jobs):
        time.sleep(0.001)
    workers = [thread for thread in threading.enumerate() if thread.name == "trunk"]
    assert [kill(thread) for thread in workers] == [True]
    for job in jobs:  # each gets its answer or an error, soon
        with contextlib.suppress(Exception):
            job.result(timeout=20)
        assert job.done()
    later = Client(inside, verbose=False)
    assert later.submit(**LONG, api_name="/text").result(timeout=20)["text"] == wanted
