"""What a source is: packages, a licence, and a reader that turns them into rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtgen.errors import BadRequestError, UnknownNameError

FAMILIES = ("permissive", "share-alike", "copyleft", "unchecked")
"""From the freest to the least known.

permissive: MIT, Apache, BSD, CC-BY, CC0, Unicode, public domain, ours.
share-alike: CC-BY-SA, GFDL, MPL: derived works keep the licence.
copyleft: GPL and AGPL.
unchecked: nobody has looked through the licences of every part.
"""

LICENCE_CHOICES = {
    "all": FAMILIES,
    "share-alike": FAMILIES[:2],
    "permissive": FAMILIES[:1],
}
"""Value of `--licenses`: the families that it lets in."""

Files = Mapping[str, Path]
"""Package name (`deb:gramps`) to archive on disk."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A named part of a training set that can be had, or missing, as a whole."""

    name: str
    packages: tuple[str, ...] = ()
    licence: str
    """SPDX expression where one fits, as the packages state it."""
    family: str
    """One of `FAMILIES`."""
    credit: str
    """Who made it, as the NOTICE names them."""
    expected: int = 0
    """Rows that it yielded when measured, to say what is lost without it."""
    weight: float = 1.0
    """Share of its rows that a trainer should see in an epoch, relative to the other sources."""
    read: Callable[[Files], Iterator[Any]]
    """Raises PackageError for a damaged archive."""
    needs_apt: bool = False
    """Reads apt's own indices, beside packages."""

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UnknownNameError("licence family", self.family, FAMILIES)


def select(sources: tuple[Source, ...], *, only: list[str], licences: str) -> list[Source]:
    """The sources that a build shall have, in their order.

    Args:
        sources: All that exist for the set.
        only: Names; empty means all.
        licences: A key of `LICENCE_CHOICES`.

    Raises:
        UnknownNameError: a name or licence choice does not exist.
        BadRequestError: a source is asked for by name that the licences leave out.
    """
    known = {source.name for source in sources}
    for name in only:
        if name not in known:
            raise UnknownNameError("source", name, known)
    if licences not in LICENCE_CHOICES:
        raise UnknownNameError("licence choice", licences, LICENCE_CHOICES)
    allowed = LICENCE_CHOICES[licences]
    for source in sources:
        if source.name in only and source.family not in allowed:
            raise BadRequestError(
                f"{source.name} is {source.family} ({source.licence}), which --licenses {licences} "
                "leaves out; leave out one of the two"
            )
    return [
        source
        for source in sources
        if source.family in allowed and (not only or source.name in only)
    ]
