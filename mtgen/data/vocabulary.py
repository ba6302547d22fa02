"""Which tokens translations into a language need: those that training wrote a few times at least.

A beam search that looks at these alone does a third of the vocabulary layer's work (static
vocabulary selection, L'Hostis et al., arXiv:1610.00072).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Int64
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from mtgen.data.packed import Packed
from mtgen.errors import BadRequestError, SettingError
from mtgen.model.trunk import sha256_of, writing

LEAST = 3
"""How often a token must stand in translations; rarer ones are mostly parts of names."""
MOST_SHARE = 0.5
"""Of the vocabulary; a language that needs more gains nothing and gets no list."""


def count_tokens(packed: Packed, vocab_size: int) -> dict[str, Int64[np.ndarray, " V"]]:
    """How often each token stands in the translations into each language.

    Args:
        packed: Parallel text.
        vocab_size: Of its tokenizer.
    """
    found: dict[str, Int64[np.ndarray, " V"]] = {}
    for batch in packed.batches:
        for lang in pc.unique(batch["tgt_lang"]).to_pylist():
            rows = pc.filter(batch["translation"], pc.equal(batch["tgt_lang"], lang))
            counts = np.bincount(rows.flatten().to_numpy(), minlength=vocab_size)
            found[lang] = found.get(lang, 0) + counts
    return found


def write_vocabulary(pack: Path, out: Path, trunk: Path, least: int = LEAST) -> dict[str, int]:
    """Writes a sorted list of tokens for each language that needs few.

    Each has the tokens of all single bytes, so that anything can be spelt.

    Args:
        pack: Folder of the packed parallel text.
        out: The file, of safetensors.
        trunk: Folder of the trunk that it was packed for.
        least: See LEAST.

    Returns:
        How many tokens each language has.

    Raises:
        BadRequestError: nothing is packed there, or for another trunk.
        SettingError: no language needs few tokens.
        CacheWriteError: the file cannot be written.
    """
    packed, path = Packed(pack, "parallel"), trunk / "tokenizer.json"
    if packed.manifest["tokenizer_sha256"] != sha256_of(path):
        raise BadRequestError(f"{pack} was packed with another tokenizer than {path}; pack it anew")
    tokenizer = Tokenizer.from_file(str(path))
    size = tokenizer.get_vocab_size()
    spelt = [tokenizer.token_to_id(byte) for byte in ByteLevel.alphabet()]
    spelt = [token for token in spelt if token is not None]
    lists = {}
    for lang, counts in sorted(count_tokens(packed, size).items()):
        counts[spelt] = max(least, 1)
        lists[lang] = np.flatnonzero(counts >= least).astype(np.int32)
    lists = {lang: tokens for lang, tokens in lists.items() if len(tokens) < MOST_SHARE * size}
    if not lists:
        raise SettingError(
            f"each language needs half of the {size:,} tokens or more; ask for a larger --least"
        )
    partial = out.with_name(out.name + ".part")
    with writing(out.parent, "make room there or choose another folder"):
        out.parent.mkdir(parents=True, exist_ok=True)
        save_file(lists, partial)
        partial.replace(out)
    return {lang: len(tokens) for lang, tokens in lists.items()}
