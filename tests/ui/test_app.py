"""The server: start, endpoint, errors, many users, MCP."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.ui.conftest import Server


@pytest.fixture(scope="module")
def client(server) -> Client:
    return Client(server.url, verbose=False)


LIBRARIES_S = 2.6
"""Importing gradio and torch, where the bars below hold; elsewhere they stretch with it."""


def slowness() -> float:
    """How many times as long this machine takes, at least 1."""
    times = []
    for _ in range(2):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", "import gradio, torch"], check=True)
        times.append(time.monotonic() - started)
    return max(1.0, min(times) / LIBRARIES_S)


def test_page_within_5_seconds_and_first_token_within_8(trunk_folder, tmp_path):
    results = []
    slow = slowness()
    page_bar, first_bar = 5 * slow, 8 * slow
    for attempt in range(3):  # the best of three: a shared machine has bad moments
        server = Server(log=tmp_path / f"log{attempt}.txt")
        try:
            page_s = server.wait()
            job = Client(server.url, verbose=False).submit("Hello", api_name="/text")
            first = next(iter(job))
            first_s = time.monotonic() - server.started
            assert first["text"]
            job.cancel()
        finally:
            server.stop()
        results.append((page_s, first_s))
        if page_s < page_bar and first_s < first_bar:
            break
    assert min(page for page, _ in results) < page_bar, results
    assert min(first for _, first in results) < first_bar, results


@pytest.mark.slow
def test_the_endpoint_gives_text_and_everything_to_repeat_it(client):
    first = client.predict("Name a colour.", max_new_tokens=12, temperature=1.0, api_name="/text")
    again = client.predict(
        "Name a colour.", max_new_tokens=12, temperature=1.0, seed=first["seed"], api_name="/text"
    )
    assert again["text"] == first["text"]
    assert first["request"]["max_new_tokens"] == 12


def test_the_example_of_a_client_runs(shell, server):
    done = shell("examples/remote.py", server.url)
    assert done.returncode == 0, done.stderr
    assert "seed 7" in done.stdout


def test_the_endpoint_streams_and_remembers_history(client):
    history = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hi"},
    ]
    job = client.submit(
        "Write about the sea.", max_new_tokens=60, history=history, seed=1, api_name="/text"
    )
    texts = [update["text"] for update in job]
    assert len(texts) > 2
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:], strict=False))


def test_the_endpoints_are_documented_and_are_the_only_ones(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == [
        "/text", "/translate", "/detect", "/languages", "/image", "/verify", "/runs", "/scores",
    ]  # fmt: skip
    names = [p["parameter_name"] for p in endpoints["/text"]["parameters"]]
    assert names[:3] == ["prompt", "system", "max_new_tokens"]
    assert endpoints["/text"]["description"].startswith("Answers a prompt with the shared model")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": "a\0b"}, "control character, U\\+0000, at position 1"),
        ({"prompt": "x", "temperature": 99}, "temperature must be a number from 0 to 2, got 99"),
        ({"prompt": "x", "max_new_tokens": -3}, "max_new_tokens must be a whole number from 1"),
        ({"prompt": "x", "seed": 2**40}, "seed must be a whole number"),
        ({"prompt": "lighthouse " * 9091}, "shorten it or ask for fewer new tokens"),
        ({"prompt": "x", "seed": 10**400}, "seed must be a whole number"),
        ({"prompt": "x", "history": [{"role": "cook", "content": "x"}]}, "role must be"),
        ({"prompt": "x", "history": ["hi"]}, "history must be a list of"),
        ({"prompt": "x", "history": [{"role": "user", "content": 5}]}, "must be a string"),
    ],
)
def test_bad_input_is_one_sentence_and_the_server_lives_on(client, arguments, sentence):
    with pytest.raises(AppError, match=sentence):
        client.predict(**arguments, api_name="/text")
    assert client.predict("Hi", max_new_tokens=2, api_name="/text")["text"]


def test_nan_sent_past_the_client_is_refused_too(server):
    import httpx

    body = '{"data": ["x", null, 5, NaN, 0.9, null, null], "session_hash": "nan"}'
    call = httpx.post(
        server.url + "gradio_api/call/text",
        content=body,
        headers={"content-type": "application/json"},
    )
    if call.status_code == 200:
        events = httpx.get(
            f"{server.url}gradio_api/call/text/{call.json()['event_id']}", timeout=30
        )
        assert "temperature must be a number from 0 to 2, got nan" in events.text
    else:
        assert call.status_code in (400, 422)
    assert httpx.get(server.url).status_code == 200


def test_only_emoji_are_answered(client):
    assert client.predict("🐱🐱", max_new_tokens=4, api_name="/text")["finish_reason"]


@pytest.mark.slow
def test_ten_users_at_once_all_get_their_own_answers(server):
    def ask(seed: int) -> dict:
        return Client(server.url, verbose=False).predict(
            f"Say the number {seed}.", max_new_tokens=16, seed=seed, api_name="/text"
        )

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(10)))
    assert [answer["seed"] for answer in answers] == list(range(10))
    assert [answer["request"]["prompt"][-2] for answer in answers] == list("0123456789")


def test_a_cancelled_call_frees_the_cores(server, client):
    job = client.submit(
        "Tell me a long story.", max_new_tokens=4000, temperature=1.3, api_name="/text"
    )
    next(iter(job))
    job.cancel()
    process = psutil.Process(server.process.pid)
    deadline = time.monotonic() + 5
    while process.cpu_percent(0.5) > 25:
        assert time.monotonic() < deadline, "still computing 5 s after the cancellation"


def test_the_server_stays_below_a_gigabyte(server, client):
    client.predict("Hello", max_new_tokens=4, api_name="/text")
    assert psutil.Process(server.process.pid).memory_info().rss < 1e9


def test_a_port_in_use_is_one_sentence(shell):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        done = shell("app.py", "--port", holder.getsockname()[1])
    assert done.returncode == 1
    assert "address already in use; choose another with --host or --port" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["70000", "http"])
def test_a_port_that_is_none_is_a_bad_request(shell, port):
    done = shell("app.py", "--port", port)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_without_weights_the_page_lives_and_says_why(tmp_path):
    offline = {
        "MTGEN_TRUNK": "",
        "MTGEN_CACHE": str(tmp_path / "cache"),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    server = Server(log=tmp_path / "log.txt", env=offline)
    try:
        server.wait()
        client = Client(server.url, verbose=False)
        for _ in range(2):  # it tries again for each request, and survives each failure
            with pytest.raises(AppError, match=r"could not be had. Tried: PyPI wheel"):
                client.predict("Hello", api_name="/text")
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_ctrl_c_ends_the_server_without_a_traceback(tiny_trunk, tmp_path):
    server = Server("--trunk", str(tiny_trunk), log=tmp_path / "log.txt")
    server.wait()
    assert server.stop() == 130
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_mcp_clients_find_the_endpoint_and_call_it(tiny_trunk, tmp_path):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    server = Server("--mcp", "--trunk", str(tiny_trunk), log=tmp_path / "log.txt")

    async def talk() -> tuple[list[str], str]:
        async with (
            streamablehttp_client(server.url + "gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            arguments = {"prompt": "Hello", "max_new_tokens": 4, "seed": 1}
            result = await session.call_tool(tools[0].name, arguments)
            return [tool.name for tool in tools], result.content[0].text

    try:
        server.wait()
        names, text = asyncio.run(talk())
    finally:
        server.stop()
    kinds = ["text", "translate", "detect", "languages", "image", "verify", "runs", "scores"]
    assert len(names) == len(kinds)
    assert all(kind in name for kind, name in zip(kinds, names, strict=True))
    assert "seed" in text


def test_building_the_page_loads_no_model():
    from mtgen.ui import build_app
    from mtgen.ui.model import SharedModel

    def load():
        raise AssertionError("loaded while the page was built")

    page = build_app(SharedModel(load))
    assert json.dumps(page.get_config_file()["dependencies"], default=str)
