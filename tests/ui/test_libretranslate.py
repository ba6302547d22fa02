"""LibreTranslate's API beside the page: a real server, and a client of other people's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.error import HTTPError

import httpx
import psutil
import pytest
from libretranslatepy import LibreTranslateAPI

from tests.ui.conftest import Server

ENGLISH = "The weather is nice today and we walk to the sea."
GERMAN = "Das Wetter ist heute schön, und wir gehen zum Meer."


@pytest.fixture(scope="module")
def expert(tiny_trunk, tmp_path_factory):
    """A folder with a random translation expert for the tiny trunk."""
    import torch

    from mtgen.model.checkpoint import save_weights
    from mtgen.model.config import TrunkConfig, read_json
    from mtgen.model.files import TRANSLATION_EXPERT
    from mtgen.model.transformer import LowRankConfig, LowRankExpert

    folder = tmp_path_factory.mktemp("translation")
    trunk = TrunkConfig.from_hf(read_json(tiny_trunk / "config.json"), "tiny")
    torch.manual_seed(2)
    module = LowRankExpert(LowRankConfig(rank=4), trunk)
    save_weights(folder / TRANSLATION_EXPERT, module, module.config)
    return folder


@pytest.fixture(scope="module")
def running(tiny_trunk, expert, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("libretranslate")
    env = {"GRADIO_TEMP_DIR": str(folder / "files"), "OMP_NUM_THREADS": "1"}
    models = "--trunk", str(tiny_trunk), "--weights", str(expert)
    server = Server(*models, log=folder / "log.txt", env=env)
    server.wait()
    yield server
    assert server.stop() in (0, 130)


@pytest.fixture(scope="module")
def http(running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


def translated(http, **sent) -> dict:
    answer = http.post("/translate", json={"source": "en", "target": "de", **sent})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.slow
def test_the_client_from_pypi_translates_detects_and_lists_languages(running):
    client = LibreTranslateAPI(running.url)
    assert client.translate("Hello world.", "en", "de") not in ("", "Hello world.")
    assert client.detect(GERMAN)[0]["language"] == "de"
    assert client.languages()[0] == {
        "code": "en", "name": "English", "targets": ["de", "en", "es", "fr"],
    }  # fmt: skip
    with pytest.raises(HTTPError, match="400"):
        client.translate("Hello", "en", "xx")


def test_a_text_gives_a_text_and_a_list_gives_a_list(http):
    one = translated(http, q="Good morning.")
    assert list(one) == ["translatedText"]
    two = translated(http, q=["Good morning.", "", "12", "Good night."])
    assert two["translatedText"][0] == one["translatedText"]
    assert two["translatedText"][1:3] == ["", "12"]
    assert len(two["translatedText"]) == 4


def test_auto_says_what_was_detected(http):
    one = translated(http, q=GERMAN, source="auto", target="en")
    assert one["detectedLanguage"]["language"] == "de"
    assert 50 < one["detectedLanguage"]["confidence"] <= 100
    two = translated(http, q=[ENGLISH, "Good night."], source="auto")
    assert [found["language"] for found in two["detectedLanguage"]] == ["en", "en"]
    short = translated(http, q="Bonjour!", source="auto", target="en")
    assert short["detectedLanguage"]["language"] == "fr"
    nothing = translated(http, q="12 + 3", source="auto")
    assert nothing["translatedText"] == "12 + 3"
    assert nothing["detectedLanguage"] == {"confidence": 0.0, "language": "en"}


def test_auto_refuses_a_language_that_is_not_ours(http):
    russian = {"q": "Сегодня хорошая погода, и мы идём к морю.", "source": "auto", "target": "en"}
    answer = http.post("/translate", json=russian)
    assert answer.status_code == 400
    assert "another language (ru)" in answer.json()["error"]


@pytest.mark.parametrize("source", ["en", "auto"])
def test_source_equal_to_target_gives_the_text_unchanged(http, source):
    assert translated(http, q=ENGLISH, source=source, target="en")["translatedText"] == ENGLISH


def test_alternatives_are_there_when_asked_for_and_all_differ(http):
    one = translated(http, q="Good morning.", alternatives=3)
    texts = [one["translatedText"], *one["alternatives"]]
    assert 1 < len(texts) == len(set(texts)) <= 4
    two = translated(http, q=["Good morning.", "1"], alternatives=2)
    assert two["alternatives"][0]
    assert two["alternatives"][1] == []


def test_html_keeps_tags_entities_scripts_and_styles(http):
    source = (
        '<style>p > a {color: red}</style><p class="green">Tea &amp; coffee at <a href="?a=1&b=2">'
        "the bar</a></p><script>say('<p>hello</p>')</script>"
    )
    text = translated(http, q=source, format="html")["translatedText"]
    start, _, rest = text.partition('<p class="green">')
    assert start == "<style>p > a {color: red}</style>"
    assert rest.endswith("</p><script>say('<p>hello</p>')</script>")
    assert rest.count('<a href="?a=1&b=2">') == rest.count("</a>") == 1
    assert "x1" not in rest
    assert "Tea &amp; coffee at <a" not in rest
    untouched = "<pre>caf&eacute; &amp; bar</pre>"
    both = translated(http, q=[untouched, "<b>Hello</b>"], format="html", alternatives=1)
    assert both["translatedText"][0] == untouched
    assert both["translatedText"][1].startswith("<b>")
    assert both["alternatives"][1][0].endswith("</b>")


def test_forms_and_parameters_of_the_address_are_read_too(http):
    wanted = translated(http, q="Good morning.")
    sent = {"q": "Good morning.", "source": "en", "target": "de", "api_key": "any"}
    assert http.post("/translate", data=sent).json() == wanted
    assert http.post("/translate", params=sent).json() == wanted
    assert http.post("/translate", params={"q": "Good morning."}, data=sent).json() == wanted
    parts = {name: (None, value) for name, value in sent.items()}
    assert http.post("/translate", files=parts).json() == wanted
    assert http.post("/detect", params={"q": ENGLISH}).json()[0]["language"] == "en"


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({"q": ""}, "missing q parameter"),
        ({"q": None}, "missing q parameter"),
        ({"q": []}, "missing q parameter"),
        ({"q": 5}, "q must be a text or a list of texts, got int"),
        ({"q": {"a": 1}}, "got dict"),
        ({"q": ["a", 1]}, "got int"),
        ({"source": None}, "missing source parameter"),
        ({"target": ""}, "missing target parameter"),
        ({"source": "xx"}, "'xx' is not supported; source must be one of auto, de, en, es, fr"),
        ({"target": "auto"}, "'auto' is not supported; target must be one of de, en, es, fr"),
        ({"target": ["de"]}, "is not supported"),
        ({"target": "\ud800"}, "is not supported"),
        ({"format": "xml"}, "'xml' format is not supported; give text or html"),
        ({"alternatives": "many"}, "alternatives parameter is not a number, got 'many'"),
        ({"alternatives": True}, "alternatives parameter is not a number"),
        ({"alternatives": 1.5}, "alternatives parameter is not a number"),
        ({"alternatives": -1}, "alternatives must be from 0 to 4, got -1"),
        ({"alternatives": 5}, "alternatives must be from 0 to 4, got 5"),
        ({"q": "x" * 300_000}, "q has 300,000 characters and up to 200,000 are translated at once"),
        ({"q": ["x" * 150_000] * 2}, "q has 300,000 characters"),
        ({"q": "a\ud800"}, "half of a character pair (a lone surrogate), U+D800, at position 1"),
        ({"q": "a\0", "target": "en"}, "a control character, U+0000"),
    ],
)
def test_a_bad_request_is_one_sentence(http, sent, sentence):
    import json

    body = json.dumps({"q": "Hello", "source": "en", "target": "de", **sent})
    answer = http.post("/translate", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert sentence in answer.json()["error"]
    assert len(answer.json()["error"]) < 250


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe{", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b'["q"]', "the body must be a JSON object, got list"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(http, body, sentence):
    answer = http.post("/translate", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_forms_that_cannot_be_read_are_refused(http):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "text/plain", ""):
        answer = http.post("/translate", content=b"--y\r\nq", headers={"content-type": kind})
        assert answer.status_code == 400, kind
        assert answer.json()["error"]


def test_more_bytes_than_are_read_are_refused_in_a_sentence(http):
    answer = http.post("/translate", data={"q": "x" * 7_000_000})
    assert answer.status_code == 400
    assert "it has over 6 MB" in answer.json()["error"]


def test_detection_is_by_likelihood_and_says_when_it_does_not_know(http):
    assert http.post("/detect", json={"q": GERMAN}).json()[0]["language"] == "de"
    for q in ("Сегодня хорошая погода.", "12", " "):
        unknown = http.post("/detect", json={"q": q}).json()
        assert unknown == [{"confidence": 0.0, "language": "en"}]
    short = http.post("/detect", json={"q": ["la", "table"]}).json()
    assert short == sorted(short, key=lambda found: -found["confidence"])
    assert http.post("/detect", json={}).status_code == 400
    assert http.post("/detect", json={"q": "x" * 300_000}).status_code == 400


def test_a_file_is_translated_and_fetched_under_a_name_nobody_can_guess(http, running):
    content = b"1\n00:00:01,000 --> 00:00:02,000\nGood morning.\n"
    sent = {"source": "en", "target": "de"}
    name = "../my film\u00e9.srt"
    answers = [
        http.post("/translate_file", files={"file": (name, content)}, data=sent) for _ in range(2)
    ]
    first, second = (answer.json()["translatedFileUrl"] for answer in answers)
    assert first.startswith(f"{running.url}download_file/")
    assert first != second
    assert first.endswith(".my_film_de.srt")
    file = httpx.get(first)
    assert file.status_code == 200
    assert 'filename="my_film_de.srt"' in file.headers["content-disposition"]
    assert file.content.startswith(b"1\n00:00:01,000 --> 00:00:02,000\n")
    assert file.content != content
    same = http.post(
        "/translate_file",
        files={"file": ("a.txt", b"Good morning to you all.")},
        data={"source": "auto", "target": "en"},
    )
    assert httpx.get(same.json()["translatedFileUrl"]).content == b"Good morning to you all."


@pytest.mark.parametrize(
    ("file", "sent", "sentence"),
    [
        (None, {}, "missing file parameter"),
        (("a.txt", b"Hi"), {"source": ""}, "missing source parameter"),
        (("a.txt", b"Hi"), {"target": "xx"}, "'xx' is not supported"),
        (("a.exe", b"Hi"), {}, "a.exe is of a type that cannot be translated"),
        (("a.txt", b""), {}, "a.txt is empty"),
        (("a.txt", b"\0\1"), {}, "a.txt holds binary data"),
        (("a.txt", b"x " * 2_000_000), {}, "more than 200,000 characters"),
    ],
)
def test_a_bad_file_is_one_sentence(http, file, sent, sentence):
    files = {"file": file} if file else {"other": ("a.txt", b"x")}
    sent = {"source": "en", "target": "de", **sent}
    answer = http.post("/translate_file", files=files, data=sent)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_files_that_are_not_there_cannot_be_fetched(http):
    for name in ("x", "..%2F..%2Fetc%2Fpasswd", ".srt"):
        answer = http.get(f"/download_file/{name}")
        assert answer.status_code == 404
    assert http.get("/download_file/x").json()["error"].startswith("there is no such file")


def test_settings_health_and_suggestions_answer_as_clients_expect(http):
    settings = http.get("/frontend/settings").json()
    assert settings["charLimit"] == 200_000
    assert ".docx" in settings["supportedFilesFormat"]
    assert settings["language"]["source"]["code"] == "auto"
    assert http.get("/health").json() == {"status": "ok"}
    refused = http.post("/suggest", data={"q": "a", "s": "b"})
    assert refused.status_code == 403
    assert refused.json() == {"error": "suggestions are not taken on this server"}
    wrong = http.get("/translate")
    assert wrong.status_code == 405
    assert wrong.json()["error"].startswith("/translate does not answer GET")
    assert http.head("/languages").status_code == 200


def test_any_origin_may_call(http):
    asked = {
        "origin": "https://example.org", "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }  # fmt: skip
    before = http.options("/translate", headers=asked)
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == "*"
    assert "Content-Type" in before.headers["access-control-allow-headers"]
    for answer in (
        http.get("/languages", headers=asked),
        http.post("/translate", json={}, headers=asked),
    ):
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
    page = http.options("/gradio_api/info", headers=asked)  # Gradio's own rules stay
    assert "access-control-allow-origin" not in page.headers


def test_the_page_and_its_endpoints_are_still_there(http):
    assert "gradio" in http.get("/").text
    assert "/text" in http.get("/gradio_api/info").json()["named_endpoints"]
    assert http.get("/nothing").status_code == 404
    assert http.get("/config").status_code == 200


@pytest.mark.slow
def test_clients_that_hang_up_end_their_computation(http, running):
    text = " ".join(f"This is sentence number {n} of a long story." for n in range(3000))
    sent = {"q": text, "source": "en", "target": "de"}
    for _ in range(4):  # two are computed, two wait
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{running.url}translate", json=sent, timeout=0.6)
    started = time.monotonic()
    assert translated(http, q="Good morning.")["translatedText"]
    assert time.monotonic() - started < 5
    process = psutil.Process(running.process.pid)
    process.cpu_percent()
    time.sleep(1)
    assert process.cpu_percent() < 30


def test_more_than_64_waiting_are_sent_away():
    import asyncio
    import threading
    from concurrent.futures import ThreadPoolExecutor

    from mtgen.ui.beside import MAX_WAITING, ApiError, Calls
    from mtgen.ui.turns import PARALLEL

    taken = PARALLEL + MAX_WAITING
    release = threading.Event()

    class Listening:
        async def receive(self):
            await asyncio.sleep(60)

    async def all_of_them() -> list:
        calls = Calls()
        jobs = [
            asyncio.create_task(calls.compute(Listening(), lambda _: release.wait(20)))
            for _ in range(taken + 1)
        ]
        await asyncio.sleep(0.3)
        release.set()
        return await asyncio.gather(*jobs, return_exceptions=True)

    with ThreadPoolExecutor(1) as pool:  # the browser's tests leave a loop running in this one
        results = pool.submit(asyncio.run, all_of_them()).result()
    assert results.count(True) == taken
    [refused] = [result for result in results if isinstance(result, ApiError)]
    assert refused.status == 429
    assert str(refused) == "64 requests are waiting already; try again later"
