"""Keys of the marks: made once, private, rotated, never shown."""

import os
import secrets
import stat

import pytest

from mtgen.errors import KeyFileError
from mtgen.marks.keys import (
    FILENAME,
    KEY_ENV,
    OLD_KEYS_ENV,
    MarkKey,
    add,
    key_folder,
    load_keys,
    rotate,
)

ONE, TWO = secrets.token_hex(32), secrets.token_hex(32)


def test_a_key_is_made_on_first_start_and_kept(tmp_path):
    folder = tmp_path / "config" / "mtgen"
    ring = load_keys(folder, {})
    path = folder / FILENAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert load_keys(folder, {}) == ring
    assert ring.others == ()
    assert ring.note == ""
    assert ring.current.made
    assert [file.name for file in folder.iterdir() if file.name[0] != "."] == [FILENAME]


def test_rotation_keeps_former_keys_for_verification(tmp_path):
    first = load_keys(tmp_path, {}).current
    second = rotate(tmp_path)
    foreign = add(MarkKey(secrets.token_bytes(32), "2026-08-02", "example.org"), tmp_path)
    ring = load_keys(tmp_path, {})
    assert ring.current == second
    assert set(ring.others) == {first, foreign}
    assert ring.all[0] == second
    assert len(ring.all) == 3


def test_the_environment_names_keys(tmp_path):
    stored = load_keys(tmp_path, {}).current
    ring = load_keys(tmp_path, {KEY_ENV: ONE, OLD_KEYS_ENV: f"{TWO}\n"})
    assert ring.current.secret.hex() == ONE
    assert [key.secret.hex() for key in ring.others] == [TWO, stored.secret.hex()]


def test_a_key_is_never_shown(tmp_path):
    key = MarkKey(bytes.fromhex(ONE))
    for text in (repr(key), str(load_keys(tmp_path, {KEY_ENV: ONE})), key.fingerprint):
        assert ONE[:8] not in text
        assert str(bytes.fromhex(ONE))[2:-1] not in text
    assert key.derived("text") != key.derived("pixels")
    assert len(key.derived("text")) == 32
    assert ONE not in key.derived("text").hex()


@pytest.mark.parametrize("value", ["password", ONE[:-2], ONE + "00", "zz" * 32])
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path, value):
    with pytest.raises(KeyFileError, match="64 hexadecimal digits") as caught:
        load_keys(tmp_path, {KEY_ENV: value})
    assert value not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": [{"key": "12"}]}', "é"])
def test_a_damaged_file_is_one_sentence(tmp_path, text):
    path = tmp_path / FILENAME
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=FILENAME):
        load_keys(tmp_path, {})


def test_a_file_that_others_can_read_is_refused(tmp_path):
    load_keys(tmp_path, {})
    (tmp_path / FILENAME).chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_keys(tmp_path, {})


def test_a_folder_that_cannot_be_written_still_marks(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    ring = load_keys(blocked / "mtgen", {})
    assert "cannot be verified after a restart" in ring.note
    assert len(ring.current.secret) == 32
    with pytest.raises(KeyFileError, match="cannot be written"):
        rotate(blocked / "mtgen")


def test_the_folder_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MTGEN_KEYS", str(tmp_path))
    assert key_folder() == tmp_path
    monkeypatch.delenv("MTGEN_KEYS")
    assert key_folder().name == "mtgen"
    assert os.fspath(key_folder()) != str(tmp_path)
