"""The pipeline as a public page uses it: rules of use, limits and the log around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mtgen.errors import LimitError, PolicyError
from mtgen.policy import Policy, load_policy
from mtgen.policy.limits import LimitConfig, Limits
from mtgen.policy.log import Log

if TYPE_CHECKING:
    from mtgen.pipeline import Pipeline

CHECKED_CHARS = 200
"""New characters of an answer after which it is looked at again."""


class Guarded:
    """A pipeline that refuses; everything else about it is the pipeline's own.

    Args:
        pipeline: What works.
        visitor: Says who asks, for the limits.
        policy: Rules; None takes the deployer's or ours.
        limits: None takes those of the environment.
        log: None takes that of the environment.

    Raises:
        ConfigError: the deployer's rules cannot be read.
        SettingError: a limit is no number.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        visitor: Callable[[], str],
        *,
        policy: Policy | None = None,
        limits: Limits | None = None,
        log: Log | None = None,
    ) -> None:
        self._pipeline, self._visitor = pipeline, visitor
        self._policy = load_policy() if policy is None else policy
        self._limits = limits or Limits(LimitConfig.of())
        self._log = log or Log.of(pipeline.keys.current.derived("log"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    @property
    def unguarded(self) -> Pipeline:
        """The pipeline itself, for what was admitted already."""
        return self._pipeline

    def around(self, pipeline: Pipeline) -> Guarded:
        """Another pipeline under the same rules, limits and log."""
        return Guarded(
            pipeline, self._visitor, policy=self._policy, limits=self._limits, log=self._log
        )

    def verify(self, what: Any, **more: Any) -> Any:
        """See `Pipeline.verify`; counted, but not looked at.

        Raises:
            LimitError: one request too many.
        """
        self._limits.admit(self._visitor())
        return self._pipeline.verify(what, **more)

    def admit(self, task: str, text: str) -> None:
        """Looks at a prompt, and counts and notes it.

        Raises:
            PolicyError: a rule refuses it.
            LimitError: one request too many.
        """
        refused = None
        try:
            self._limits.admit(self._visitor())
            if rule := self._policy.broken(text, task):
                refused = rule.name
                raise PolicyError(rule.refusal)
        except LimitError:
            refused = "limit"
            raise
        finally:
            self._log.add(task, text, refused)

    def text_stream(self, request: Any, **more: Any) -> Any:
        """See `Pipeline.text_stream`; all that the user says and the answer are looked at."""
        stream = self._pipeline.text_stream(request, **more)
        asked = stream.request
        turns = [message.content for message in asked.history if message.role != "assistant"]
        self.admit("text", "\n".join(filter(None, [asked.system, *turns, asked.prompt])))
        return LookedAt(stream, self._policy, "text")

    def image_stream(self, request: Any, **more: Any) -> Any:
        """See `Pipeline.image_stream`; the prompts are looked at."""
        stream = self._pipeline.image_stream(request, **more)
        self.admit("image", f"{stream.request.prompt}\n{stream.request.negative_prompt}")
        return stream

    def translation_stream(self, request: Any, **more: Any) -> Any:
        """See `Pipeline.translation_stream`; the text is looked at."""
        stream = self._pipeline.translation_stream(request, **more)
        self.admit("translate", translated_text(stream.request))
        return stream

    def document_stream(self, document: Any, **more: Any) -> Any:
        """See `Pipeline.document_stream`; the text is looked at."""
        stream = self._pipeline.document_stream(document, **more)
        self.admit("translate", translated_text(stream.request))
        return stream


def translated_text(request: Any) -> str:
    """The text, with what a glossary puts into its translation."""
    return "\n".join([request.text, *(meaning for _, meaning in request.glossary)])


class LookedAt:
    """A stream of text that ends with a `PolicyError` where its text breaks a rule."""

    def __init__(self, stream: Any, policy: Policy, task: str) -> None:
        self._stream, self._policy, self._task = stream, policy, task
        self._pieces = self._run()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def generation(self) -> Any:
        """The result; runs the stream to its end if it is not there yet.

        Raises:
            PolicyError: the text breaks a rule.
        """
        for _ in self._pieces:
            pass
        return self._stream.generation

    def _run(self) -> Iterator[str]:
        text, looked_at = "", 0
        for piece in self._stream:
            text += piece
            if len(text) - looked_at >= CHECKED_CHARS:
                self._look(text)
                looked_at = len(text)
            yield piece
        self._look(text)

    def _look(self, text: str) -> None:
        if rule := self._policy.broken(text, self._task):
            self._stream.stop()
            raise PolicyError(f"the answer was stopped: {rule.refusal}")
