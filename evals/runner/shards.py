"""Which part of a run is this process's: `--shard 2/3`, or its rank under `accelerate launch`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from mtgen.errors import SettingError

Part = TypeVar("Part")
LONGEST_WAIT = timedelta(days=7)
"""For processes that are not done yet."""


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of a run."""

    index: int = 1
    """1..count."""
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise SettingError(
                f"shard {self} is none: the first number is from 1 to the second, as in 2/3"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From `I/N`.

        Raises:
            SettingError: other than two such numbers.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()):
            raise SettingError(
                f"shard must be two whole numbers such as 2/3, the second part of three, not "
                f"{text!r}"
            )
        return cls(int(index), int(count))

    @property
    def filename(self) -> str:
        """Where its records go."""
        return "records.jsonl" if self.count == 1 else f"records-{self.index}-of-{self.count}.jsonl"

    def of(self, parts: Sequence[Part]) -> list[Part]:
        """Its share, every `count`-th."""
        return list(parts[self.index - 1 :: self.count])


WHOLE = Shard()


def launched_shard() -> Shard | None:
    """By the rank that `accelerate launch` or `torchrun` gave this process; None without them."""
    rank, world_size = (os.environ.get(name) for name in ("RANK", "WORLD_SIZE"))
    if rank is None or world_size is None or int(world_size) == 1:
        return None
    return Shard(int(rank) + 1, int(world_size))


def wait_for_all() -> None:
    """Returns when every launched process has come here."""
    from accelerate import PartialState

    state = PartialState(cpu=True, timeout=LONGEST_WAIT)
    state.wait_for_everyone()
    state.destroy_process_group()
