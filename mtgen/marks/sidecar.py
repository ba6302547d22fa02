"""Facts about a text file in a second file, as Content Credentials are in a picture.

Text has no place for credentials that would survive. So a download of text comes with a small JSON
file that says the same: what made it, that it is machine-made, how, and of which bytes it speaks.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json

from mtgen import __version__
from mtgen.marks.credentials import SOURCE_TYPE
from mtgen.requests import Generation, TranslationGeneration

SUFFIX = ".marks.json"
"""Follows the whole name of the file that it speaks of."""


def sidecar(generation: Generation | TranslationGeneration, name: str, content: bytes) -> bytes:
    """The facts, as JSON.

    Args:
        generation: What is in the file.
        name: The file's name.
        content: Its bytes.
    """
    request = dataclasses.asdict(generation.request)
    for field in ("text", "prompt", "history"):  # the file is no copy of what was asked
        request.pop(field, None)
    facts = {
        "file": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "digitalSourceType": SOURCE_TYPE,
        "software": f"mtgen {__version__}",
        "model": generation.model,
        "marks": generation.marks,
        "settings": request,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(facts, indent=1, ensure_ascii=False).encode()
