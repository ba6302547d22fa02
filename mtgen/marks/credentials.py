"""Content Credentials (C2PA) in pictures: signed facts about how they were made.

They are the part of marking that any program can read, and the part that any program can strip:
so they stand beside the watermarks, not instead of them.
"""

from __future__ import annotations

import datetime
import functools
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtgen.errors import KeyFileError
from mtgen.marks.keys import key_folder, one_at_a_time, write_private

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for what a trained model has made."""
SETTINGS_LABEL = "org.mtgen.settings"
"""Our assertion: how the picture was drawn, as `PictureSettings.as_dict` has it."""
CHAIN_ENV, KEY_ENV, ANCHORS_ENV = "MTGEN_C2PA_CHAIN", "MTGEN_C2PA_KEY", "MTGEN_C2PA_ANCHORS"
"""A deployer's certificates (the signer's first), private key, and roots to trust, in PEM or as the
path of a file of it."""
CHAIN_FILE, KEY_FILE, ROOT_FILE = "c2pa-chain.pem", "c2pa-key.pem", "c2pa-root.pem"
YEARS = 5
"""How long own certificates hold."""
SIGNABLE = {"PNG": "image/png", "JPEG": "image/jpeg"}
READABLE = {**SIGNABLE, "WEBP": "image/webp"}
"""By Pillow's name of the format."""


@dataclass(frozen=True)
class Signer:
    """Who signs, and whom we trust."""

    chain: bytes = field(repr=False)
    """Certificates in PEM, the signer's first, without the root."""
    key: bytes = field(repr=False)
    """The signer's private key in PEM."""
    anchors: bytes = field(repr=False)
    """Certificates in PEM that are trusted as roots."""
    algorithm: str
    """As C2PA names it: `es256`."""
    own: bool
    """Made here, so that only we know it; otherwise the deployer's."""
    note: str = ""
    """What a deployer should know, such as that it will not outlive the process."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What the credentials of a file say, and whether that can be believed."""

    state: str
    """`trusted`, `valid` (by a signer whom we do not know), or `invalid`."""
    edited: bool
    """The file is no longer the one that was signed."""
    signer: str
    """Name in the certificate."""
    generator: str
    """Program that made the claim."""
    time: str | None
    """When it was signed by a time authority, or made by the signer's word."""
    machine_made: bool
    """The actions name a trained model as the source."""
    actions: tuple[str, ...]
    """What was done, such as `c2pa.created`."""
    settings: dict[str, Any] | None
    """How it was drawn, where it was drawn by mtgen."""
    problems: tuple[str, ...]
    """Codes of what is wrong, as the specification names them."""


def load_signer(folder: Path | None = None, environ: Mapping[str, str] = os.environ) -> Signer:
    """The deployer's signer, or our own, which is made on first start.

    Args:
        folder: Of our own certificates; None is that of the keys.
        environ: Where CHAIN_ENV, KEY_ENV and ANCHORS_ENV are looked up.

    Raises:
        KeyFileError: what was supplied is no certificate and key, or our files are damaged.
    """
    folder = folder or key_folder()
    more = pem(environ.get(ANCHORS_ENV, ""), ANCHORS_ENV)
    given = environ.get(CHAIN_ENV), environ.get(KEY_ENV)
    if any(given):
        if not all(given):
            raise KeyFileError(f"{CHAIN_ENV} and {KEY_ENV} are needed together, or neither")
        chain, key = pem(given[0] or "", CHAIN_ENV), pem(given[1] or "", KEY_ENV)
        return Signer(chain, key, more, algorithm_of(key, chain, KEY_ENV), own=False)
    paths = [folder / name for name in (CHAIN_FILE, KEY_FILE, ROOT_FILE)]
    note = ""
    if all(path.is_file() for path in paths):
        chain, key, root = (path.read_bytes() for path in paths)
    else:
        chain, key, root = new_certificates()
        try:
            with one_at_a_time(folder):
                if all(path.is_file() for path in paths):  # another process was faster
                    chain, key, root = (path.read_bytes() for path in paths)
                else:
                    for path, content in zip(paths, (chain, key, root), strict=True):
                        write_private(path, content)
        except OSError as error:
            note = (
                f"{folder} cannot be written ({error.strerror}), so credentials signed now will "
                f"be by an unknown signer after a restart; set {CHAIN_ENV} and {KEY_ENV}"
            )
    algorithm = algorithm_of(key, chain, str(paths[1]))
    return Signer(chain, key, root + more, algorithm, own=True, note=note)


def pem(value: str, name: str) -> bytes:
    """PEM that a variable holds, or the file that it names.

    Raises:
        KeyFileError: neither; the message does not repeat it.
    """
    if not value or value.lstrip().startswith("-----BEGIN "):
        return value.encode()
    try:
        content = Path(value).read_bytes()
    except (OSError, ValueError):
        content = b""
    if b"-----BEGIN " not in content:
        raise KeyFileError(f"{name} holds neither PEM nor the path of a PEM file that can be read")
    return content


def algorithm_of(key: bytes, chain: bytes, where: str) -> str:
    """C2PA's name of the algorithm that a private key signs with.

    Args:
        key: In PEM.
        chain: Certificates in PEM; the first is that of the key.
        where: For messages.

    Raises:
        KeyFileError: it is no key, has a password, is of a kind that C2PA does not know, or does
            not fit the certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError):
        raise KeyFileError(f"{where} holds no private key in PEM without a password") from None
    try:
        [certificate, *_] = x509.load_pem_x509_certificates(chain)
        fits = certificate.public_key() == private.public_key()  # type: ignore[union-attr]
    except (ValueError, AttributeError):
        fits = False
    if not fits:
        raise KeyFileError(
            f"the certificate that belongs to {where} is none in PEM, or is of another key"
        )
    if isinstance(private, ec.EllipticCurvePrivateKey):
        sizes = {256: "es256", 384: "es384", 521: "es512"}
        if private.curve.key_size in sizes:
            return sizes[private.curve.key_size]
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    elif isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    raise KeyFileError(f"{where} holds a key that C2PA does not sign with; P-256 works")


def new_certificates() -> tuple[bytes, bytes, bytes]:
    """A signer under a root of its own, as C2PA asks: chain, key and root in PEM.

    The root's key is thrown away: it signs this one certificate and no other.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(what: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mtgen, an own certificate"),
                x509.NameAttribute(NameOID.COMMON_NAME, what),
            ]
        )

    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    end = start + datetime.timedelta(days=365 * YEARS)
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())

    def certificate(subject: str, public: ec.EllipticCurvePublicKey, is_root: bool):
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only"), False,
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject)).issuer_name(name("mtgen root of this machine"))
            .public_key(public).serial_number(x509.random_serial_number())
            .not_valid_before(start).not_valid_after(end)
            .add_extension(x509.BasicConstraints(is_root, 0 if is_root else None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id),
                critical=False,
            )
        )  # fmt: skip
        if not is_root:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        made = builder.sign(root_key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    root = certificate("mtgen root of this machine", root_key.public_key(), True)
    leaf = certificate("mtgen on this machine", leaf_key.public_key(), False)
    key = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return leaf, key, root


@functools.lru_cache(maxsize=4)
def context(anchors: bytes) -> Any:
    """The library's settings: our roots, no thumbnails, nothing fetched from the network."""
    import c2pa

    verify = {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False}
    return c2pa.Context.from_dict(
        {
            "trust": {"user_anchors": anchors.decode("ascii", "ignore")} if anchors else {},
            "verify": verify,
            "builder": {"thumbnail": {"enabled": False}},
        }
    )


def signed(content: bytes, kind: str, title: str, settings: dict[str, Any], by: Signer) -> bytes:
    """A picture's file with credentials.

    Args:
        content: Of a PNG or JPEG file.
        kind: Key of SIGNABLE.
        title: Name of the file.
        settings: How the picture was drawn.
        by: Who signs.

    Raises:
        KeyFileError: C2PA refuses the certificate.
    """
    import c2pa

    from mtgen import __version__

    agent = {"name": "mtgen", "version": __version__}
    created = {
        "action": "c2pa.created", "digitalSourceType": SOURCE_TYPE, "softwareAgent": agent,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    manifest = {
        "claim_generator_info": [agent],
        "title": title,
        "format": SIGNABLE[kind],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": SETTINGS_LABEL, "data": settings},
        ],
    }
    info = c2pa.C2paSignerInfo(by.algorithm, by.chain, by.key, None)
    target = io.BytesIO()
    try:
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(manifest, context(by.anchors)) as builder,
        ):
            builder.sign(signer, SIGNABLE[kind], io.BytesIO(content), target)
    except c2pa.C2paError as error:
        raise KeyFileError(f"the picture cannot be signed ({error}); see docs/marks.md") from None
    return target.getvalue()


def read_credentials(content: bytes, kind: str, anchors: bytes) -> Credentials | None:
    """What the credentials in a file say; None where it has none.

    Args:
        content: Of the file.
        kind: Pillow's name of its format.
        anchors: Roots that are trusted, in PEM.
    """
    import c2pa

    if kind not in READABLE:
        return None
    try:
        stream = io.BytesIO(content)
        reader = c2pa.Reader.try_create(READABLE[kind], stream, context=context(anchors))
        if reader is None:
            return None
        with reader:
            return credentials_of(json.loads(reader.json()))
    except (c2pa.C2paError, LookupError, TypeError, AttributeError, ValueError) as error:
        return Credentials(
            state="invalid", edited=False, signer="", generator="", time=None,
            machine_made=False, actions=(), settings=None, problems=(str(error),),
        )  # fmt: skip


def credentials_of(store: dict[str, Any]) -> Credentials:
    """What a store of manifests says, as the library gives it in JSON; strangers write those."""
    manifest = store["manifests"][store["active_manifest"]]
    results = store.get("validation_results", {}).get("activeManifest", {})
    problems = tuple(item["code"] for item in results.get("failure", ()))
    signature = manifest.get("signature_info", {})
    generator = (manifest.get("claim_generator_info") or [{}])[0]
    data = {item["label"]: item["data"] for item in manifest.get("assertions", ())}
    actions = [
        action
        for label, item in data.items()
        if label.startswith("c2pa.actions")
        for action in item["actions"]
    ]
    sources = {str(action.get("digitalSourceType", "")) for action in actions}
    return Credentials(
        state=str(store.get("validation_state", "invalid")).lower(),
        edited=any("ash.mismatch" in problem for problem in problems),
        signer=str(signature.get("common_name") or signature.get("issuer") or ""),
        generator=" ".join(str(generator.get(key, "")) for key in ("name", "version")).strip(),
        time=signature.get("time") or next((a["when"] for a in actions if "when" in a), None),
        machine_made=any(source.lower().endswith("algorithmicmedia") for source in sources),
        actions=tuple(str(action["action"]) for action in actions),
        settings=data.get(SETTINGS_LABEL),
        problems=problems,
    )
