"""Which tokens translations into a language need: those that training wrote a few times at least.

A beam search that looks at these alone does half of the vocabulary layer's work (static
vocabulary selection, L'Hostis et al., arXiv:1610.00072).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int64
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from mtgen.data.packed import Packed
from mtgen.errors import BadRequestError, SettingError
from mtgen.model.checkpoint import write_tensors
from mtgen.model.trunk import sha256_of
from mtgen.requests import check_number

NAME = re.compile("Ġ[A-Z][a-z]+")
"""A token that may be a name: a word with the space before it, as byte-level vocabularies write."""
MOST_SHARE = 0.6
"""Of the vocabulary; a language that needs more gains nothing and gets no list."""


def count_tokens(packed: Packed, vocab_size: int) -> dict[str, Int64[np.ndarray, " V"]]:
    """How often each token stands in the translations into each language.

    Args:
        packed: Parallel text.
        vocab_size: Of its tokenizer.
    """
    found: dict[str, Int64[np.ndarray, " V"]] = {}
    for batch in packed.batches:
        langs = batch["tgt_lang"].to_numpy(zero_copy_only=False)
        for lang in sorted(set(langs)):
            rows = batch["translation"].filter(pa.array(langs == lang))
            counts = np.bincount(rows.flatten().to_numpy(), minlength=vocab_size)
            found[lang] = found.get(lang, 0) + counts
    return found


def write_vocabulary(pack: Path, out: Path, trunk: Path, least: int) -> dict[str, int]:
    """Writes a sorted list of tokens for each language that needs few.

    Each has the tokens of all single bytes, so that anything can be spelt, and those of words that
    begin with a capital, so that names are copied as ever.

    Args:
        pack: Folder of the packed parallel text.
        out: The file, of safetensors.
        trunk: Folder of the trunk that it was packed for.
        least: How often a token must stand in translations, at least once.

    Returns:
        How many tokens each language has.

    Raises:
        BadRequestError: nothing is packed there, or for another trunk.
        SettingError: `least` is no such number, or no language needs few tokens.
        CacheWriteError: the file cannot be written.
    """
    check_number("least", least, 1, 1_000_000, integer=True)
    packed, path = Packed(pack, "parallel"), trunk / "tokenizer.json"
    if packed.manifest["tokenizer_sha256"] != sha256_of(path):
        raise BadRequestError(f"{pack} was packed with another tokenizer than {path}; pack it anew")
    tokenizer = Tokenizer.from_file(str(path))
    size = tokenizer.get_vocab_size()
    spelt = [tokenizer.token_to_id(byte) for byte in ByteLevel.alphabet()]
    names = [token for text, token in tokenizer.get_vocab().items() if NAME.fullmatch(text)]
    always = [token for token in spelt if token is not None] + names
    lists = {}
    for lang, counts in sorted(count_tokens(packed, size).items()):
        counts[always] = least
        lists[lang] = torch.from_numpy(np.flatnonzero(counts >= least)).int()
    lists = {lang: tokens for lang, tokens in lists.items() if len(tokens) < MOST_SHARE * size}
    if not lists:
        raise SettingError(
            f"each language needs {MOST_SHARE:.0%} of the {size:,} tokens or more; "
            "ask for a larger --least"
        )
    write_tensors(out, lists)
    return {lang: len(tokens) for lang, tokens in lists.items()}
