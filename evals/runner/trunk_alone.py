"""The baseline of the translation suites: the trunk without any expert, asked in words."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from mtgen.errors import PromptTooLongError, SettingError
from mtgen.model.beam import beam_search
from mtgen.pipeline import Pipeline
from mtgen.requests import LANGUAGES, Message, TranslationRequest, check_text
from mtgen.tasks.translate import BATCH, LONGEST

PROMPT = (
    "Translate the following text from {source} to {target}. "
    "Answer with the translation alone.\n\n{text}"
)
"""The best of five wordings, by chrF++ of 40 everyday sentences."""


def asked_in_words(text: str, source: str, target: str) -> Message:
    """What a model without a translation expert is asked.

    Raises:
        BadRequestError: no text that can be translated.
    """
    check_text(text, "text to translate")
    said = PROMPT.format(source=LANGUAGES[source], target=LANGUAGES[target], text=text)
    return Message(role="user", content=said)


class TrunkAlone(Pipeline):
    """Translates as anyone would who has the trunk and nothing of ours.

    Same precision, beams and limits as with the expert, but the whole text goes into one message
    of the chat template, and what comes back is taken as it is.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.translation_model = f"{self.model}+no-expert"

    def translate_all(
        self, texts: Sequence[str], *, source: str, target: str,
        stop: threading.Event | None = None, **settings: Any,
    ) -> list[str]:  # fmt: skip
        """See `Pipeline.translate_all`.

        Raises:
            SettingError: settings other than those of the search.
            PromptTooLongError: a text and its translation do not fit into the context.
        """
        request = TranslationRequest(
            text="\n".join(texts), source=source, target=target, **settings
        )
        if settings.keys() - {"num_beams", "length_penalty", "seed"}:
            raise SettingError(
                "the trunk alone takes num_beams and length_penalty, not "
                + ", ".join(settings.keys() - {"num_beams", "length_penalty", "seed"})
            )
        prompts, limits = [], []
        for text in texts:
            prompts.append(self.tokenizer.encode_chat([asked_in_words(text, source, target)]))
            limits.append(int(LONGEST * len(self.tokenizer.encode(text))) + 12)
            room = self.runtime.config.context_length
            if len(prompts[-1]) + limits[-1] > room:
                raise PromptTooLongError(
                    f"a text of {len(text):,} characters and its translation need more than the "
                    f"{room:,} tokens of the context; split it"
                )
        outputs = [""] * len(texts)
        order = sorted(range(len(texts)), key=lambda place: len(prompts[place]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            for row, hypotheses in beam_search(
                self.runtime, [prompts[place] for place in places],
                eos_ids=self.tokenizer.eos_ids, max_new_tokens=[limits[p] for p in places],
                num_beams=request.num_beams, length_penalty=request.length_penalty,
                stop=stop,
            ):  # fmt: skip
                outputs[places[row]] = self.tokenizer.decode(hypotheses[0].ids).strip()
        return outputs
