"""Causal language models of `transformers`: texts, likelihoods, and translation in words."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
)

from evals.models.base import Clock, Foreign, files_sha256, seed_of
from evals.runner.trunk_alone import asked_in_words
from mtgen.errors import ConfigError, EmptyPromptError, PromptTooLongError
from mtgen.requests import UNMARKED, Generation, Message, TextRequest

ROOM = 2.0
"""Tokens of a translation, by those of the text."""


class Causal(Foreign):
    """Asked through its chat template where it has one, else with the bare prompt.

    Args:
        folder: In the layout of `save_pretrained`.
        name: For results.

    Raises:
        ConfigError: `transformers` cannot load it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(name, ("text", "likelihood", "choice", "translation"))
        self.folder = folder
        self.tokenizer: Any = None
        self.network: Any = None
        try:
            self.load()
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            raise ConfigError(f"transformers cannot load {name}: {first_line(error)}") from None
        config = self.network.config.get_text_config()
        self.room = int(getattr(config, "max_position_embeddings", 1024) or 1024)
        marks = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, 0)
        self.start = next(token for token in marks if token is not None)

    def weights_sha256(self) -> str:
        return files_sha256(self.folder)

    def load(self) -> None:
        """Reads tokenizer and network from the folder."""
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        self.network = AutoModelForCausalLM.from_pretrained(
            self.folder, local_files_only=True, dtype=torch.float32
        ).eval()

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """A conversation as the model reads it."""
        if self.tokenizer.chat_template:
            said = [{"role": m.role, "content": m.content} for m in messages]
            text = self.tokenizer.apply_chat_template(
                said, tokenize=False, add_generation_prompt=True
            )
            return self.tokenizer.encode(text, add_special_tokens=False)
        return self.tokenizer.encode("\n".join(m.content for m in messages))

    @torch.inference_mode()
    def answer(
        self, ids: list[int], max_new_tokens: int, seed: int, temperature: float, top_p: float,
        stop: threading.Event | None = None,
    ) -> tuple[str, int, bool, Clock]:  # fmt: skip
        """Text, tokens, whether it was cut at the limit, and times."""
        if len(ids) + max_new_tokens > self.room:
            raise PromptTooLongError(
                f"the prompt has {len(ids):,} tokens and {max_new_tokens:,} are to follow; "
                f"{self.model} reads {self.room:,}"
            )
        torch.manual_seed(seed)
        clock, given = Clock(), torch.tensor([ids])
        how = {"do_sample": False}
        if temperature:
            how = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        out = self.network.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=max_new_tokens,
            pad_token_id=self.tokenizer.pad_token_id or self.start, streamer=clock,
            stopping_criteria=StoppingCriteriaList([Stopped(stop)]), **how,
        )  # fmt: skip
        new = out[0, len(ids) :].tolist()
        cut = len(new) == max_new_tokens and new[-1] != self.tokenizer.eos_token_id
        return self.tokenizer.decode(new, skip_special_tokens=True), len(new), cut, clock

    def text(self, request: TextRequest, *, stop: threading.Event | None = None) -> Generation:
        system = [Message(role="system", content=request.system)] if request.system else []
        messages = [*system, *request.history, Message(role="user", content=request.prompt)]
        ids, seed = self.prompt_ids(messages), seed_of(request)
        text, count, cut, clock = self.answer(
            ids, request.max_new_tokens, seed, request.temperature, request.top_p, stop
        )
        stopped = stop is not None and stop.is_set()
        return Generation(
            text=text, request=dataclasses.replace(request, seed=seed, mark=UNMARKED),
            finish_reason="cancelled" if stopped else "length" if cut else "stop",
            timings=clock.timings(len(ids), count), model=self.model,
        )  # fmt: skip

    def translate_all(
        self, texts: Sequence[str], *, source: str, target: str,
        stop: threading.Event | None = None, **settings: Any,
    ) -> list[str]:  # fmt: skip
        outputs = []
        for text in texts:
            asked = asked_in_words(text, source, target)
            limit = int(ROOM * len(self.tokenizer.encode(text))) + 12
            ids = self.prompt_ids([asked])
            output = self.answer(ids, limit, 0, 0.0, 1.0, stop)[0].strip()
            outputs.append("" if stop is not None and stop.is_set() else output)
        return outputs

    def log_likelihood(self, text: str) -> Tensor:
        return self.option_log_likelihoods([("", text)])[0]

    @torch.inference_mode()
    def option_log_likelihoods(self, options: Sequence[tuple[str, str]]) -> list[Tensor]:
        """As lm-evaluation-harness: context and continuation are tokenised together."""
        found = []
        for context, continuation in options:
            if not continuation.strip():
                raise EmptyPromptError("a continuation has no visible character; give some text")
            whole = self.tokenizer.encode(context + continuation, add_special_tokens=False)
            first = len(self.tokenizer.encode(context, add_special_tokens=False)) if context else 0
            if not context:
                whole, first = [self.start, *whole], 1
            if len(whole) > self.room + 1:
                raise PromptTooLongError(
                    f"an option has {len(whole):,} tokens with its context and {self.model} reads "
                    f"{self.room:,}"
                )
            first = max(1, min(first, len(whole) - 1))
            scores = self.network(torch.tensor([whole[:-1]])).logits[0].float().log_softmax(-1)
            targets = torch.tensor(whole[1:])
            found.append(scores.gather(1, targets[:, None])[first - 1 :, 0])
        return found


class Stopped(StoppingCriteria):
    """Ends `generate` once an event is set."""

    def __init__(self, stop: threading.Event | None) -> None:
        self.stop = stop

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        over = self.stop is not None and self.stop.is_set()
        return torch.full((len(input_ids),), over, dtype=torch.bool)


def first_line(error: Exception) -> str:
    """What went wrong, in short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
