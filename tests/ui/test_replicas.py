"""Several copies of the page behind one address, by Ray Serve."""

from __future__ import annotations

import contextlib
import time

import httpx
import pytest
from gradio_client import Client

from mtgen.errors import SettingError
from tests.ui.conftest import Server

pytest.importorskip("ray.serve")
LONG = {"prompt": "Tell me a story.", "max_new_tokens": 60, "seed": 5}


def test_a_visitor_is_known_by_the_address_that_a_proxy_gives_or_the_connection_has():
    from mtgen.ui.replicas import address

    direct = {"client": ("10.0.0.7", 4242), "headers": [(b"accept", b"*/*")]}
    assert address(direct) == "10.0.0.7"
    assert address({**direct, "headers": [(b"x-forwarded-for", b"1.2.3.4")]}) == "1.2.3.4"
    assert address({"client": None}) == "nobody"


def test_a_number_of_copies_that_cannot_be_is_refused():
    from app import parse
    from mtgen.ui.replicas import serve_replicas

    for count in ("0", "-1", "1000"):
        with pytest.raises(SettingError, match="--replicas must be from 1 to 256"):
            serve_replicas(parse(["--replicas", count]))
    with pytest.raises(SettingError, match="--mcp does not go with --replicas"):
        serve_replicas(parse(["--replicas", "2", "--mcp"]))


@pytest.mark.slow
def test_two_copies_serve_and_a_visitor_stays_with_one(
    tiny_image_trunk, tiny_weights, tiny_image, tmp_path
):
    models = "--trunk", str(tiny_image_trunk), "--weights", str(tiny_weights)
    page = Server("--replicas", "2", *models, log=tmp_path / "log.txt")
    try:
        page.wait()
        while "2 copies on" not in page.log.read_text():  # with one alone, all go there
            assert time.monotonic() - page.started < 90
            time.sleep(0.2)
        served: dict[str, str] = {}
        visitors = [f"10.0.0.{number}" for number in range(8)]
        for visitor in visitors * 2:
            response = httpx.get(page.url, headers={"x-forwarded-for": visitor}, timeout=20)
            assert response.status_code == 200
            assert "One small open model" in response.text
            copy = response.headers["x-replica"]
            assert served.setdefault(visitor, copy) == copy
        assert len(set(served.values())) == 2

        clients = [
            Client(page.url, verbose=False, headers={"x-forwarded-for": visitor})
            for visitor in visitors
        ]
        jobs = [client.submit(**LONG, api_name="/text") for client in clients]
        texts = {job.result(timeout=60)["text"] for job in jobs}
        alone = tiny_image.text(LONG["prompt"], max_new_tokens=LONG["max_new_tokens"], seed=5)
        assert texts == {alone.text}, "a seed gives the same in every copy"
        drawn = clients[0].predict(prompt="a cat", num_inference_steps=1, api_name="/image")
        assert drawn["images"]
        told = httpx.post(
            f"{page.url}detect", json={"q": "Guten Morgen, wie geht es dir?"}, timeout=20
        )
        assert told.json()[0]["language"] == "de", "LibreTranslate's API is there too"
    finally:
        began = time.monotonic()
        with contextlib.suppress(Exception):
            page.stop()
        assert time.monotonic() - began < 20
