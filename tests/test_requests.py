"""Bad input: one clear sentence each."""

from __future__ import annotations

import math

import pytest

from mtgen.errors import BadRequestError, EmptyPromptError, InvalidTextError, SettingError
from mtgen.requests import Message, TextRequest


@pytest.mark.parametrize("prompt", ["", "   \n\t", "\u200b\u200d"])
def test_a_prompt_without_a_visible_character_is_empty(prompt):
    with pytest.raises(EmptyPromptError, match="the prompt is empty; type something"):
        TextRequest(prompt=prompt)


def test_a_lone_surrogate_is_named_with_its_position():
    with pytest.raises(InvalidTextError, match=r"lone surrogate\), U\+D83D, at position 3"):
        TextRequest(prompt="cat\ud83d")


@pytest.mark.parametrize("char", ["\0", "\x1b", "\x7f", "\x85"])
def test_control_characters_are_refused(char):
    with pytest.raises(InvalidTextError, match=f"control character, U\\+{ord(char):04X}"):
        TextRequest(prompt=f"a{char}b")


def test_tabs_and_line_breaks_are_text():
    assert TextRequest(prompt="a\tb\r\nc").prompt == "a\tb\r\nc"


@pytest.mark.parametrize("prompt", [None, 5, b"bytes"])
def test_a_prompt_must_be_a_string(prompt):
    with pytest.raises(InvalidTextError, match="must be a string"):
        TextRequest(prompt=prompt)


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "temperature": [-0.1, 2.1, math.nan, math.inf, 10**400, "1", None, True],
        "top_p": [0, -1, 1.01, math.nan],
        "max_new_tokens": [0, -5, 4097, 10**12, 2.5],
        "seed": [-1, 2**32, 10**400, 1.5],
    }.items(),
)
def test_settings_out_of_range_are_refused_with_the_range(field, values):
    for value in values:
        with pytest.raises(SettingError, match=f"{field} must be .* to .*, got"):
            TextRequest(prompt="x", **{field: value})


def test_requests_are_frozen():
    request = TextRequest(prompt="x")
    with pytest.raises(AttributeError):
        request.prompt = "y"  # type: ignore[misc]


def test_history_is_checked_like_the_prompt():
    with pytest.raises(SettingError, match="role must be"):
        Message(role="robot", content="x")  # type: ignore[arg-type]
    with pytest.raises(InvalidTextError):
        Message(role="user", content="\0")
    with pytest.raises(SettingError, match="must hold Message objects"):
        TextRequest(prompt="x", history=({"role": "user", "content": "x"},))  # type: ignore[arg-type]


def test_what_the_model_wrote_never_blocks_the_next_turn():
    assert Message(role="assistant", content="a\x08b").content == "a\x08b"


def test_messages_are_one_line():
    for prompt in ("", "\0", "\ud800"):
        with pytest.raises(BadRequestError) as error:
            TextRequest(prompt=prompt)
        assert "\n" not in str(error.value)
