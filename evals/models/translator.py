"""Encoder-decoders of `transformers` that translate."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, StoppingCriteriaList

from evals.models.base import Foreign, files_sha256
from evals.models.causal import Stopped, first_line
from mtgen.errors import ConfigError, LanguageError, SettingError
from mtgen.requests import LANGUAGES, TranslationRequest, check_text

CODES = {
    "m2m_100": {lang: (lang,) for lang in LANGUAGES},
    "nllb": {"en": ("eng_Latn",), "fr": ("fra_Latn",), "de": ("deu_Latn",), "es": ("spa_Latn",)},
    "mbart": {"en": ("en_XX",), "fr": ("fr_XX",), "de": ("de_DE",), "es": ("es_XX",)},
}
"""Names of languages as the models' tokenizers have them."""
PREFIX = "translate {source} to {target}: "
"""Of T5 (arXiv:1910.10683)."""
BATCH = 16
IGNORED = {"mark", "seed"}
"""Settings that mean nothing to these models."""


class Translator(Foreign):
    """Marian, M2M100, NLLB, mBART, T5; others are given the bare text.

    Args:
        folder: In the layout of `save_pretrained`.
        name: For results.

    Raises:
        ConfigError: `transformers` cannot load it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(name, ("translation",))
        self.folder = folder
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.network: Any = AutoModelForSeq2SeqLM.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32
            ).eval()
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise ConfigError(f"transformers cannot load {name}: {first_line(error)}") from None
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def weights_sha256(self) -> str:
        return files_sha256(self.folder)

    def asked(self, source: str, target: str) -> tuple[str, dict[str, Any]]:
        """What goes before a text, and settings of `generate`, for a direction.

        Raises:
            LanguageError: the model translates another direction.
        """
        kind, tokenizer = self.network.config.model_type, self.tokenizer
        if kind == "marian":
            own = (tokenizer.source_lang, tokenizer.target_lang)
            if None not in own and own != (source, target):
                raise LanguageError(
                    f"{self.model} translates {own[0]} to {own[1]}, not {source} to {target}"
                )
            return "", {}
        if kind == "t5":
            return PREFIX.format(source=LANGUAGES[source], target=LANGUAGES[target]), {}
        for codes in CODES.values():
            ids = tokenizer.convert_tokens_to_ids([codes[target][0], f"__{codes[target][0]}__"])
            known = [i for i in ids if i is not None and i != tokenizer.unk_token_id]
            if known and hasattr(tokenizer, "src_lang"):
                tokenizer.src_lang = codes[source][0]
                return "", {"forced_bos_token_id": known[0]}
        return "", {}

    @torch.inference_mode()
    def translate_all(
        self, texts: Sequence[str], *, source: str, target: str,
        stop: threading.Event | None = None, **settings: Any,
    ) -> list[str]:  # fmt: skip
        request = TranslationRequest(
            text="\n".join(texts), source=source, target=target,
            **{name: value for name, value in settings.items() if name not in IGNORED},
        )  # fmt: skip
        if unknown := settings.keys() - IGNORED - {"num_beams", "length_penalty"}:
            raise SettingError(
                f"{self.model} takes num_beams and length_penalty, not {', '.join(sorted(unknown))}"
            )
        for text in texts:
            check_text(text, "text to translate")
        prefix, forced = self.asked(source, target)
        outputs: list[str] = []
        for start in range(0, len(texts), BATCH):
            part = [prefix + text for text in texts[start : start + BATCH]]
            given = self.tokenizer(part, return_tensors="pt", padding=True, truncation=True)
            longest = int(given["input_ids"].shape[1])
            out = self.network.generate(
                **given, num_beams=request.num_beams, length_penalty=request.length_penalty,
                max_new_tokens=2 * longest + 12, do_sample=False,
                stopping_criteria=StoppingCriteriaList([Stopped(stop)]), **forced,
            )  # fmt: skip
            if stop is not None and stop.is_set():
                return outputs + [""] * (len(texts) - len(outputs))
            decoded = self.tokenizer.batch_decode(out, skip_special_tokens=True)
            outputs += [output.strip() for output in decoded]
        return outputs
