"""Text to token ids and back, and the model's own chat template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mtgen.errors import BadRequestError, ConfigError, CorruptedFileError
from mtgen.model.config import read_json
from mtgen.requests import LANGUAGES, Message


class ChatTokenizer:
    """A checkpoint's tokenizer with its chat template.

    Special tokens work only where the template puts them: `<|im_end|>` typed by a user is
    encoded as the plain characters, so nobody can end or forge a turn from inside a message.
    """

    def __init__(self, folder: Path) -> None:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
        from tokenizers import Tokenizer

        try:
            serialized = (folder / "tokenizer.json").read_text("utf-8")
            self._tokenizer = Tokenizer.from_str(serialized)
            self._literal = Tokenizer.from_str(serialized)
        except Exception as error:  # the library raises bare Exception
            raise CorruptedFileError(
                f"{folder / 'tokenizer.json'} is not readable ({error})"
            ) from None
        self._literal.encode_special_tokens = True
        self._specials = [
            token.content
            for token in self._tokenizer.get_added_tokens_decoder().values()
            if token.special
        ]
        settings_file = folder / "tokenizer_config.json"
        settings = read_json(settings_file) if settings_file.is_file() else {}
        template_file = folder / "chat_template.jinja"
        template = (
            template_file.read_text("utf-8")
            if template_file.is_file()
            else settings.get("chat_template")
        )
        if not template:
            raise ConfigError(
                f"the checkpoint {folder} has no chat template; use an -Instruct model"
            )
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = self._refuse
        try:
            self._template = environment.from_string(template)
        except TemplateError as error:
            raise ConfigError(f"the chat template of {folder} is broken ({error})") from None
        self._variables = {
            name: settings[name] if isinstance(settings[name], str) else settings[name]["content"]
            for name in ("bos_token", "eos_token")
            if settings.get(name)
        }
        self.eos_ids = self._find_eos(folder)

    def _find_eos(self, folder: Path) -> frozenset[int]:
        found: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            if (folder / name).is_file():
                eos = read_json(folder / name).get("eos_token_id")
                found.update(eos if isinstance(eos, list) else [] if eos is None else [eos])
        eos_token = self._variables.get("eos_token")
        if eos_token and (eos_id := self._tokenizer.token_to_id(eos_token)) is not None:
            found.add(eos_id)
        return frozenset(found)

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Plain text to ids; special tokens in it are encoded as their characters."""
        return self._literal.encode(text, add_special_tokens=False).ids

    def encode_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The same, with the characters that each token stands for, as start and end."""
        found = self._literal.encode(text, add_special_tokens=False)
        return found.ids, found.offsets

    def decode(self, ids: Iterable[int]) -> str:
        """Ids to text, special tokens left out; broken UTF-8 becomes U+FFFD."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def token(self, index: int) -> str:
        """The token's text in the vocabulary, special ones included."""
        return self._tokenizer.id_to_token(index) or ""

    def encode_chat(self, messages: list[Message]) -> list[int]:
        """A conversation, ready for the model to answer."""
        if any(special in m.content for m in messages for special in self._specials):
            return self._encode_escaped(messages)
        return self._tokenizer.encode(self._render(messages), add_special_tokens=False).ids

    def _render(self, messages: list[Message]) -> str:
        from jinja2 import TemplateError

        turns = [{"role": m.role, "content": m.content} for m in messages]
        try:
            return self._template.render(
                messages=turns, add_generation_prompt=True, **self._variables
            )
        except TemplateError as error:
            raise ConfigError(f"the model's chat template failed ({error})") from None

    @staticmethod
    def _refuse(reason: str) -> None:
        """What templates call when a conversation is not one they take."""
        raise BadRequestError(f"the model's chat template refuses this conversation: {reason}")

    @property
    def document_start_id(self) -> int:
        """Id of the token that separates documents in training, else of the beginning."""
        names = ("<|endoftext|>", self._variables.get("bos_token", ""))
        ids = (self._tokenizer.token_to_id(name) for name in names)
        return next((i for i in ids if i is not None), 0)

    def _encode_escaped(self, messages: list[Message]) -> list[int]:
        """The slow way: template and contents are encoded apart."""
        slots = [f"\ue000{index}\ue001" for index in range(len(messages))]
        blank = [Message(role=m.role, content=s) for m, s in zip(messages, slots, strict=True)]
        rest, ids = self._render(blank), []
        for slot, message in zip(slots, messages, strict=True):
            before, found, rest = rest.partition(slot)
            if not found:  # the template left this message out
                rest = before
                continue
            ids += self._tokenizer.encode(before, add_special_tokens=False).ids
            ids += self.encode(message.content)
        return ids + self._tokenizer.encode(rest, add_special_tokens=False).ids

    def stream(self) -> TokenStream:
        """A decoder that is fed one id at a time."""
        return TokenStream(self)


def translation_prompt(
    source: Sequence[int], src_lang: str, tgt_lang: str, tokenizer: ChatTokenizer
) -> list[int]:
    """What stands before a translation: the direction, then the source."""
    head = f"{LANGUAGES[src_lang]} to {LANGUAGES[tgt_lang]}:\n"
    return [tokenizer.document_start_id, *tokenizer.encode(head), *source, *tokenizer.encode("\n")]


class TokenStream:
    """Turns ids into text as they come, holding back half-finished characters."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer._tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def feed(self, index: int) -> str:
        """Text that has become certain with this id; may be empty."""
        return self._stream.step(self._tokenizer, index) or ""
