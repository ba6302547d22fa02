"""Content Credentials: signed, read back, and told from what was edited."""

from __future__ import annotations

import io
import json
import stat

import numpy as np
import pytest
from PIL import Image

from mtgen.errors import KeyFileError
from mtgen.marks import credentials
from mtgen.marks.credentials import load_signer, new_certificates, read_credentials, signed


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return load_signer(tmp_path_factory.mktemp("certificates"), {})


def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_was_signed_is_read_back(kind, signer):
    plain = picture(kind)
    content = signed(plain, kind, "a picture", {"seed": 7, "prompt": "grüne Äpfel"}, signer)
    found = read_credentials(content, kind, signer.anchors)
    assert found is not None
    assert (found.state, found.edited, found.machine_made) == ("trusted", False, True)
    assert found.settings == {"seed": 7, "prompt": "grüne Äpfel"}
    assert found.actions == ("c2pa.created",)
    assert found.generator.startswith("mtgen ")
    pixels = [np.array(Image.open(io.BytesIO(c))) for c in (plain, content)]
    assert (pixels[0] == pixels[1]).all()
    assert len(content) - len(plain) < 5000  # no thumbnail
    assert read_credentials(plain, kind, signer.anchors) is None


def test_the_digital_source_type_is_the_one_that_iptc_names(signer):
    import c2pa

    content = signed(picture("PNG"), "PNG", "x", {}, signer)
    with c2pa.Reader("image/png", io.BytesIO(content)) as reader:
        store = json.loads(reader.json())
    manifest = store["manifests"][store["active_manifest"]]
    [actions] = [a for a in manifest["assertions"] if a["label"].startswith("c2pa.actions")]
    assert actions["data"]["actions"][0]["digitalSourceType"] == credentials.SOURCE_TYPE


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_edited_file_is_told_from_the_signed_one(kind, signer):
    content = bytearray(signed(picture(kind), kind, "x", {}, signer))
    content[-60] ^= 1
    found = read_credentials(bytes(content), kind, signer.anchors)
    assert found is not None
    assert (found.state, found.edited) == ("invalid", True)


def test_another_machines_signature_is_valid_but_not_trusted(signer, tmp_path):
    content = signed(picture("PNG"), "PNG", "x", {}, load_signer(tmp_path, {}))
    found = read_credentials(content, "PNG", signer.anchors)
    assert found is not None
    assert (found.state, found.edited) == ("valid", False)
    assert found.problems == ("signingCredential.untrusted",)


def test_certificates_are_made_once_and_for_their_owner_alone(tmp_path):
    first = load_signer(tmp_path / "new", {})
    assert first == load_signer(tmp_path / "new", {})
    assert first.own
    assert not first.note
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").glob("*.pem")}
    assert modes == {0o600}
    assert "PRIVATE" not in repr(first)


def test_a_deployers_chain_comes_from_the_environment(tmp_path):
    chain, key, root = new_certificates()
    (tmp_path / "chain.pem").write_bytes(chain)
    environ = {
        credentials.CHAIN_ENV: str(tmp_path / "chain.pem"), credentials.KEY_ENV: key.decode(),
        credentials.ANCHORS_ENV: root.decode(),
    }  # fmt: skip
    signer = load_signer(tmp_path / "none", environ)
    assert (signer.own, signer.algorithm) == (False, "es256")
    assert not (tmp_path / "none").exists()
    content = signed(picture("JPEG"), "JPEG", "x", {}, signer)
    found = read_credentials(content, "JPEG", signer.anchors)
    assert found is not None
    assert found.state == "trusted"


def test_what_is_no_certificate_is_refused_and_not_repeated(tmp_path):
    chain, key, _ = new_certificates()
    with pytest.raises(KeyFileError, match="needed together"):
        load_signer(tmp_path, {credentials.KEY_ENV: key.decode()})
    with pytest.raises(KeyFileError, match="neither PEM nor the path") as caught:
        load_signer(tmp_path, {credentials.CHAIN_ENV: "secret", credentials.KEY_ENV: "secret"})
    assert "secret" not in str(caught.value)
    environ = {credentials.CHAIN_ENV: chain.decode(), credentials.KEY_ENV: chain.decode()}
    with pytest.raises(KeyFileError, match="no private key"):
        load_signer(tmp_path, environ)


def test_a_certificate_of_another_key_is_refused_at_the_start(tmp_path):
    (chain, _, _), (_, key, _) = new_certificates(), new_certificates()
    for bad in (chain, b"-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n"):
        environ = {credentials.CHAIN_ENV: bad.decode(), credentials.KEY_ENV: key.decode()}
        with pytest.raises(KeyFileError, match="is none in PEM, or is of another key"):
            load_signer(tmp_path, environ)


def test_a_strange_manifest_is_invalid_and_no_failure():
    with pytest.raises((LookupError, TypeError)):
        credentials.credentials_of({"active_manifest": "x", "manifests": {}})


def test_a_folder_that_cannot_be_written_still_signs(tmp_path):
    (tmp_path / "file").write_text("")
    signer = load_signer(tmp_path / "file", {})
    assert "cannot be written" in signer.note
    assert signed(picture("PNG"), "PNG", "x", {}, signer)
