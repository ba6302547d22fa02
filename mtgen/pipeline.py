"""Request in, `Generation` out: the one door that the app, the shell and the evals use."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mtgen.engine import LlamaRuntime, Runtime
from mtgen.engine.runtime import release_free_memory, use_all_cores
from mtgen.errors import PromptTooLongError, SettingError
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.model.trunk import find_trunk, sha256_of
from mtgen.requests import Generation, Precision, TextRequest, check_text
from mtgen.tasks.text import PREFILL_CHUNK, TextStream


class Pipeline:
    """The shared model with its tasks. Safe to use from several threads."""

    def __init__(self, runtime: Runtime, tokenizer: ChatTokenizer, folder: Path) -> None:
        self.runtime = runtime
        self.tokenizer = tokenizer
        self.model = f"{runtime.config.name}/{runtime.precision}"
        """Name and precision, as it stands in every `Generation`."""
        self.folder = folder
        """Where the weights were read from."""

    @classmethod
    def load(
        cls,
        trunk: str | Path | None = None,
        *,
        precision: Precision = "packed",
        progress: bool = True,
    ) -> Pipeline:
        """See `mtgen.load`."""
        use_all_cores()
        folder = find_trunk(trunk, progress=progress)
        pipeline = cls(LlamaRuntime(folder, precision), ChatTokenizer(folder), folder)
        release_free_memory()
        return pipeline

    def weights_sha256(self) -> str:
        """Hex digest that tells these weights from all others, whatever their name."""
        files = sorted(self.folder.glob("*.safetensors"))
        return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()

    def text_stream(
        self, request: TextRequest | str, *, stop: threading.Event | None = None, **settings: Any
    ) -> TextStream:
        """Starts to answer; iterate over the pieces, then read `.generation`.

        Args:
            request: A `TextRequest`, or the prompt with its settings as keywords.
            stop: Ends the stream within one token once it is set, as `.stop()` does.
            **settings: Fields of `TextRequest`.

        Raises:
            BadRequestError: the request cannot be served; nothing was generated.
        """
        if isinstance(request, str):
            try:
                request = TextRequest(prompt=request, **settings)
            except TypeError as error:
                raise SettingError(f"unknown setting: {error}") from None
        elif settings:
            raise SettingError("give a TextRequest or keyword settings, not both")
        return TextStream(request, self.runtime, self.tokenizer, self.model, stop)

    def text(self, request: TextRequest | str, **settings: Any) -> Generation:
        """Answers a prompt; see `text_stream` for the arguments and errors."""
        return self.text_stream(request, **settings).generation

    def log_likelihood(self, text: str) -> Float[Tensor, " N"]:
        """Natural-log probability of each token of plain text, given those before it.

        The first token is predicted from the token that separates documents in training.

        Raises:
            EmptyPromptError: no visible text.
            PromptTooLongError: more tokens than the context holds.
        """
        check_text(text, "text")
        ids = self.tokenizer.encode(text)
        limit = self.runtime.config.context_length
        if len(ids) > limit:
            raise PromptTooLongError(
                f"the text has {len(ids):,} tokens and the model reads {limit:,}; split it"
            )
        cache = self.runtime.new_cache(len(ids))
        given = torch.tensor([self.tokenizer.document_start_id, *ids[:-1]])
        parts = []
        targets = torch.tensor(ids)
        for start in range(0, len(ids), PREFILL_CHUNK):
            part = slice(start, start + PREFILL_CHUNK)
            scores = self.runtime.forward(given[part], cache, all_logits=True).log_softmax(-1)
            parts.append(scores.gather(1, targets[part, None]).squeeze(1))
        return torch.cat(parts)
