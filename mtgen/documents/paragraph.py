"""A Word paragraph as pieces, and pieces put back into it.

A paragraph is read as atoms: text, objects (a picture, a reference to a footnote, a field) and
stops (a tab, a page break), at which pieces end. Text in the formatting that most of a piece has
goes without a tag; other formatting is `<1>bold</1>` and an object is `<2/>`, so that a
translation can move both.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mtgen.documents.base import has_words

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_XML_SPACE = "{http://www.w3.org/XML/1998/namespace}space"

_CONTAINERS = {W + n for n in ("hyperlink", "ins", "moveTo", "smartTag", "customXml", "sdt")}
_CONTAINERS.add(W + "sdtContent")
_TEXT = {W + "br": "\n", W + "cr": "\n", W + "noBreakHyphen": "\u2011", W + "softHyphen": "\u00ad"}
_STOPS = {W + "tab", W + "ptab"}
_UNSEEN = {W + n for n in ("rPr", "lastRenderedPageBreak", "commentReference", "delText")}
_NOISE = {W + "lang", W + "noProof"}
"""Of a run's formatting: proofing, which cuts sentences into runs that look the same."""
_TAG = re.compile(r"<(/?)(\d{1,4})(/?)>")


@dataclass(eq=False)
class Atom:
    """The smallest part of a paragraph that is seen."""

    kind: str
    """`text`, `object` or `stop`."""
    run: Any
    """The run it stands in; None for an object outside of runs."""
    node: Any
    """The child of the run, or the object itself."""
    text: str = ""
    look: Any = None
    """Equal where formatting and containers are the same."""
    nodes: list[Any] = field(default_factory=list)
    """Of a field: its runs, which move together."""


@dataclass(eq=False)
class Item:
    """What a number stands for in a piece: text of one look, or an object."""

    atoms: list[Atom]
    text: str = ""
    number: int = 0
    """0 for text in the look that most of the piece has."""

    @property
    def is_object(self) -> bool:
        return self.atoms[0].kind == "object"


@dataclass(eq=False)
class Segment:
    """The part of a paragraph between two stops that makes a piece."""

    items: list[Item]
    piece: str
    base: Any
    """The look that most of the text has."""
    lead: str
    trail: str
    """Blanks around the piece."""
    flat: bool
    """Whether tags are of no use, because the text itself looks like one."""


def _atoms(paragraph: Any, depth: int) -> list[Atom]:
    """What is seen of a paragraph, in order; text boxes inside are paragraphs of their own."""
    atoms: list[Atom] = []
    field_atom = Atom("stop", None, None) if depth else None

    def visit(parent: Any, above: tuple[Any, ...]) -> None:
        nonlocal depth, field_atom
        for child in parent:
            if child.tag in _CONTAINERS:
                visit(child, (*above, child))
            elif child.tag == W + "r":
                for node in child:
                    if node.tag == W + "fldChar":
                        kind = node.get(W + "fldCharType")
                        if kind == "begin":
                            depth += 1
                            if field_atom is None:
                                field_atom = Atom("object", None, child)
                        if field_atom is not None:
                            field_atom.nodes.append(child)
                        if kind == "end" and field_atom is not None:
                            depth -= 1
                            if depth <= 0:
                                depth = 0
                                atoms.append(_closed(field_atom))
                                field_atom = None
                    elif field_atom is None:
                        atom = _atom(child, node, above)
                        if atom is not None:
                            atoms.append(atom)
            elif child.tag == W + "fldSimple" or str(child.tag).startswith(_MATH):
                if field_atom is None:
                    atoms.append(Atom("object", None, child, nodes=[child]))

    visit(paragraph, ())
    if field_atom is not None:
        atoms.append(Atom("stop", None, None))
    return atoms


def _closed(field_atom: Atom) -> Atom:
    """A field that ended: an object if all of it can move together, else a stop."""
    first, last = field_atom.nodes[0], field_atom.nodes[-1]
    if field_atom.kind == "stop" or first.getparent() is not last.getparent():
        return Atom("stop", None, None)
    parent = first.getparent()
    field_atom.nodes = list(parent[parent.index(first) : parent.index(last) + 1])
    return field_atom


def _atom(run: Any, node: Any, above: tuple[Any, ...]) -> Atom | None:
    """One child of a run; None where nothing of it is seen."""
    if node.tag in _UNSEEN or not isinstance(node.tag, str):
        return None
    is_break = node.tag == W + "br" and node.get(W + "type", "textWrapping") != "textWrapping"
    if node.tag in _STOPS or is_break:
        return Atom("stop", run, node)
    if node.tag != W + "t" and node.tag not in _TEXT:
        return Atom("object", run, node, nodes=[run])
    text = _TEXT.get(node.tag)
    if text is None:
        text = re.sub(r"[\r\n]", " ", node.text or "")
        text = text if node.get(_XML_SPACE) == "preserve" else text.strip(" \t")
    return Atom("text", run, node, text, look=(above, _format(run)))


def _format(run: Any) -> str:
    """A run's formatting, such that equal ones look the same."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    properties = run.find(W + "rPr")
    if properties is None:
        return ""
    return "".join(
        etree.tostring(child, encoding="unicode", with_tail=False)
        for child in properties
        if child.tag not in _NOISE
    )


def segments_of(paragraph: Any, depth: int) -> Iterator[Segment]:
    """The translatable parts of a paragraph, in order."""
    if next(paragraph.iter(W + "t"), None) is None:
        return
    group: list[Atom] = []
    for atom in [*_atoms(paragraph, depth), Atom("stop", None, None)]:
        if atom.kind != "stop":
            group.append(atom)
            continue
        while group and not group[0].text.strip():
            group.pop(0)
        while group and not group[-1].text.strip():
            group.pop()
        if has_words("".join(atom.text for atom in group)):
            yield _segment(group)
        group = []


def _segment(atoms: list[Atom]) -> Segment:
    """Numbers what is not text of the commonest look."""
    lengths: dict[Any, int] = {}
    for atom in atoms:
        if atom.kind == "text":
            lengths[atom.look] = lengths.get(atom.look, 0) + len(atom.text.strip())
    base = max(lengths, key=lambda look: lengths[look])
    items: list[Item] = []
    for atom in atoms:
        blank = atom.kind == "text" and not atom.text.strip()
        last = items[-1] if items and not items[-1].is_object else None
        if last is not None and (blank or atom.kind == "text" and last.atoms[0].look == atom.look):
            last.atoms.append(atom)
        else:
            items.append(Item([atom]))
    whole = "".join(atom.text for atom in atoms)
    flat = _TAG.search(whole) is not None
    piece, number = "", 0
    for item in items:
        item.text = "".join(atom.text for atom in item.atoms)
        text = item.text
        if not item.is_object and (item.atoms[0].look == base or not text.strip()):
            piece += text
            continue
        number += 1
        item.number = number
        inner = text.strip()
        start = len(text) - len(text.lstrip())
        tagged = f"<{number}>{inner}</{number}>" if inner else f"<{number}/>"
        piece += text[:start] + tagged + text[start + len(inner) :]
    if flat:
        piece = whole
    lead = piece[: len(piece) - len(piece.lstrip())]
    trail = piece[len(piece.rstrip()) :]
    return Segment(items, piece.strip(), base, lead, trail, flat)


def split_runs(paragraph: Any) -> None:
    """Gives each stop and object, and each stretch of text, a run of its own."""
    for run in [run for run in paragraph.iter(W + "r") if _owner(run) is paragraph]:
        children = [child for child in run if child.tag != W + "rPr"]
        texts = [child.tag == W + "t" or _is_text(child) for child in children]
        if len(children) < 2 or all(texts):
            continue
        current, last = None, False
        for child, is_text in zip(children, texts, strict=True):
            if current is None:
                current = run
            elif not (is_text and last):
                following = _shell(run)
                current.addnext(following)
                current = following
            if current is not run:
                current.append(child)
            last = is_text


def _is_text(node: Any) -> bool:
    atom = _atom(node.getparent(), node, ())
    return atom is not None and atom.kind == "text"


def _owner(run: Any) -> Any:
    return next(run.iterancestors(W + "p"), None)


def _shell(element: Any) -> Any:
    """A copy without content: attributes and properties alone."""
    shell = element.makeelement(element.tag, dict(element.attrib), nsmap=element.nsmap)
    shell.extend(copy.deepcopy(child) for child in element if str(child.tag).endswith("Pr"))
    return shell


def write_segment(segment: Segment, translation: str) -> None:
    """Puts a translation into its paragraph, whose runs are split."""
    numbered = {item.number: item for item in segment.items if item.number}
    found = None if segment.flat else _parsed(translation, numbered)
    if found is None or not numbered:
        if not segment.flat and numbered:
            translation = _TAG.sub("", translation)
        _write_flat(segment, segment.lead + translation + segment.trail)
        return
    gaps, order = found
    gaps[0] = segment.lead + gaps[0]
    gaps[-1] += segment.trail
    _write_items(segment, numbered, gaps, order)


def _parsed(
    translation: str, numbered: dict[int, Item]
) -> tuple[list[str], list[tuple[int, str]]] | None:
    """The texts between the tags, and (number, text) of each; None where tags are damaged."""
    gaps, order = [], []
    position, opened = 0, None
    for match in _TAG.finditer(translation):
        number, text = int(match[2]), translation[position : match.start()]
        closing, alone = bool(match[1]), bool(match[3])
        if number not in numbered or closing and alone:
            return None
        if closing:
            if opened != number:
                return None
            order.append((number, text))
            opened = None
        elif opened is not None or numbered[number].is_object != alone:
            return None
        else:
            gaps.append(text)
            if alone:
                order.append((number, ""))
            else:
                opened = number
        position = match.end()
    gaps.append(translation[position:])
    complete = sorted(number for number, _ in order) == sorted(numbered)
    return (gaps, order) if opened is None and complete else None


def _write_flat(segment: Segment, text: str) -> None:
    """The whole text in the base look, in its first place; objects stay where they are."""
    texts = [atom for item in segment.items for atom in item.atoms if atom.kind == "text"]
    first = next(atom for atom in texts if atom.look == segment.base)
    _set_text(first, text)
    for atom in texts:
        if atom is not first:
            _remove(atom)


def _write_items(
    segment: Segment, numbered: dict[int, Item], gaps: list[str], order: list[tuple[int, str]]
) -> None:
    """Fills the places of the items, and of the text between them, in the translation's order."""
    atoms = [atom for item in segment.items for atom in item.atoms]
    firsts = [atom.nodes[0] if atom.nodes else atom.run for atom in atoms]
    own = {atom.run for atom in atoms}
    own |= {run for atom in atoms for node in atom.nodes for run in node.iter(W + "r")}
    common = _common(firsts)
    for element in {_child(common, first) for first in firsts}:
        if element.tag in _CONTAINERS:
            _separate(element, own)
    base = next(atom for atom in atoms if atom.look == segment.base)
    # A place is a marker before the first element of an item; text before it goes there too
    # where no text stood.
    places: list[tuple[Any, Any]] = []
    gap = None
    for item in segment.items:
        element = item.atoms[0].nodes[0] if item.is_object else item.atoms[0].run
        marker = _marker(_child(common, element))
        if item.number:
            places.append((gap if gap is not None else marker, marker))
            gap = None
        elif gap is None:
            gap = marker
    made: list[tuple[Any, list[Any]]] = []
    for (gap_at, item_at), text, (number, inner) in zip(places, gaps, order, strict=False):
        item = numbered[number]
        made.append((gap_at, _made(base, common, text)))
        if item.is_object:
            made.append((item_at, _whole(item.atoms[0], common)))
        else:
            made.append((item_at, _made(item.atoms[0], common, inner)))
    last = gap
    if last is None:
        last = places[-1][1]
    made.append((last, _made(base, common, gaps[-1])))
    for atom in atoms:
        if atom.kind == "text":
            _remove(atom)
    for marker, elements in made:
        for element in elements:
            marker.addprevious(element)
    for marker in list(common.iter("marker")):
        marker.getparent().remove(marker)


def _common(elements: list[Any]) -> Any:
    """The innermost element that holds all."""
    for above in elements[0].iterancestors():
        if all(above in element.iterancestors() for element in elements[1:]):
            return above
    raise AssertionError("elements of one paragraph")


def _separate(container: Any, own: set[Any]) -> None:
    """Cuts a container such that runs of a piece share none with others."""
    for child in list(container):
        if child.tag in _CONTAINERS:
            _separate(child, own)
    current, last = container, None
    for child in list(container):
        runs = [run for run in child.iter(W + "r") if len(run)]
        is_own = any(run in own for run in runs) if runs else last
        if last is not None and is_own != last:
            following = _shell(container)
            current.addnext(following)
            current = following
        if current is not container:
            current.append(child)
        last = is_own


def _child(common: Any, element: Any) -> Any:
    """The child of `common` that holds an element, or is it."""
    while element.getparent() is not common:
        element = element.getparent()
    return element


def _whole(atom: Atom, common: Any) -> list[Any]:
    """The elements of an object, with a container that holds nothing else."""
    child = _child(common, atom.nodes[0])
    if len(atom.nodes) == 1 and len(list(child.iter(W + "r", W + "t"))) == 1:
        return [child]
    return atom.nodes


def _marker(element: Any) -> Any:
    """An empty element for a moment, before another."""
    marker = element.makeelement("marker")
    element.addprevious(marker)
    return marker


def _made(pattern: Atom, common: Any, text: str) -> list[Any]:
    """A new run of a look within new containers; nothing for no text."""
    if not text:
        return []
    run = _shell(pattern.run)
    _fill(run, text)
    element = run
    for above in pattern.run.iterancestors():
        if above is common:
            return [element]
        shell = _shell(above)
        shell.append(element)
        element = shell
    raise AssertionError("a run within the common element")


def _fill(run: Any, text: str, at: Any = None) -> None:
    """Appends text to a run, with its line breaks; or puts it in the place of node `at`."""
    nodes = []
    for index, line in enumerate(text.split("\n")):
        if index:
            nodes.append(run.makeelement(W + "br"))
        if line:
            node = run.makeelement(W + "t")
            node.text = line
            node.set(_XML_SPACE, "preserve")
            nodes.append(node)
    for node in nodes:
        if at is None:
            run.append(node)
        else:
            at.addprevious(node)
    if at is not None:
        run.remove(at)


def _set_text(atom: Atom, text: str) -> None:
    _fill(atom.run, text, at=atom.node)


def _remove(atom: Atom) -> None:
    """Removes text, and the run and containers that are left with nothing."""
    element = atom.node
    while True:
        parent = element.getparent()
        parent.remove(element)
        if parent.tag == W + "p" or any(not str(child.tag).endswith("Pr") for child in parent):
            return
        element = parent
