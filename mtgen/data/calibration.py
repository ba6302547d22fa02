"""Documents kept from training in every set, so that what is measured on them is honest."""

from __future__ import annotations

import hashlib

CALIBRATION_SHARE = 0.1
"""Share of documents: perplexity is measured, and detectors of marks are calibrated, on them."""


def is_calibration(source: str, document: str) -> bool:
    """Whether a document, in all its languages, is for calibration; by hash, in every build.

    Args:
        source: Name of the source, the same in the sets of prose and of parallel text.
        document: Name of the document, the same in all languages.
    """
    digest = hashlib.blake2b(f"{source}/{document}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) < int(CALIBRATION_SHARE * 2**32)
