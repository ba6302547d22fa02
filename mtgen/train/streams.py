"""Endless, numbered training batches: step `n` of a seed is the same however often a run stops.

Each process of several gets its share of the step's samples, so that two processes with a batch of
32 see what one sees with a batch of 64.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mtgen.data.loader import picture_loader
from mtgen.data.packed import Packed, PackedTokens
from mtgen.errors import BadRequestError
from mtgen.model.tokenizer import ChatTokenizer, translation_prompt
from mtgen.requests import LANGUAGES

ENDLESS = 2**40
SORTED_BATCHES = 64
"""Batches drawn together and sorted by length, so that little is padding."""
MAX_PAIR_TOKENS = 128


@dataclass(frozen=True)
class Share:
    """Which part of each step this process takes."""

    rank: int = 0
    world: int = 1


class PictureStream(Protocol):
    """Gives pictures with captions, step after step."""

    def __call__(self, first_step: int) -> Iterator[tuple[UInt8[Tensor, "B 3 H W"], list[str]]]: ...


def packed_pictures(
    folder: Path,
    batch: int,
    share: Share,
    *,
    num_workers: int,
    size_px: int,
    seed: int,
    **options: Any,
) -> PictureStream:
    """The mixture over packed pictures."""

    def batches(first_step: int) -> Iterator[tuple[Tensor, list[str]]]:
        loader = picture_loader(
            folder, batch_size=batch, num_batches=ENDLESS,
            first_batch=first_step * share.world + share.rank, every=share.world,
            num_workers=num_workers, size_px=size_px, seed=seed, **options,
        )  # fmt: skip
        for item in loader:
            yield item["pixels"], item["captions"]

    return batches


class FolderPictures(Dataset):
    """Someone's own pictures with captions.

    The folder holds pictures and `metadata.csv` or `metadata.jsonl` with `file_name` and `text`,
    the layout of Hugging Face's `imagefolder`; or a `.txt` with the caption beside each picture.

    Raises:
        BadRequestError: no captioned picture, or one that is listed and missing.
    """

    def __init__(self, folder: Path, size_px: int, batch: int, share: Share, seed: int) -> None:
        self.folder, self.size_px, self.batch, self.share = folder, size_px, batch, share
        self.seed = seed
        self.items = captioned(folder)

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, step: int) -> tuple[Tensor, list[str]] | BadRequestError:
        """A batch; or what is wrong, as an error raised in a worker comes with its traceback."""
        try:
            return self.batch_of(step)
        except BadRequestError as error:
            return error

    def batch_of(self, step: int) -> tuple[Tensor, list[str]]:
        """Pixels and captions of a step."""
        first = (step * self.share.world + self.share.rank) * self.batch
        pixels, captions = [], []
        for number in range(first, first + self.batch):
            epoch, place = divmod(number, len(self.items))
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.items))
            path, caption = self.items[order[place]]
            pixels.append(read_square(path, self.size_px))
            captions.append(caption)
        return torch.stack(pixels), captions


def captioned(folder: Path) -> list[tuple[Path, str]]:
    """Pictures of a folder with their captions, sorted by name."""
    items = []
    for place, name, text in listed(folder):
        if not name or not text:
            raise BadRequestError(f"{place} lacks a file name or a text; it needs both")
        if not (folder / name).is_file():
            raise BadRequestError(f"{place} names {name}, which is not in {folder}")
        items.append((folder / name, text))
    if not items:
        raise BadRequestError(
            f"{folder} has no captioned pictures; add a metadata.csv with the columns file_name "
            "and text, or a .txt with the caption beside each picture"
        )
    return sorted(items)


def listed(folder: Path) -> Iterator[tuple[str, str | None, str | None]]:
    """Where each caption of a folder stands, the name of its picture, and its text."""
    if (table := folder / "metadata.csv").is_file():
        rows: Iterable[Any] = csv.DictReader(io.StringIO(read_text(table)))
    elif (table := folder / "metadata.jsonl").is_file():
        try:
            rows = [json.loads(line) for line in read_text(table).splitlines() if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line holds something else")
        except ValueError as error:
            raise BadRequestError(f"{table} is not one JSON object a line ({error})") from None
    else:
        kinds = {".png", ".jpg", ".jpeg", ".webp"}
        for picture in sorted(p for p in folder.rglob("*") if p.suffix.lower() in kinds):
            caption = picture.with_suffix(".txt")
            if caption.is_file():
                yield str(caption), str(picture.relative_to(folder)), read_text(caption).strip()
        return
    for number, row in enumerate(rows, 1):
        yield f"row {number} of {table}", row.get("file_name"), row.get("text")


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        BadRequestError: it is not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequestError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None


def read_square(path: Path, size_px: int) -> UInt8[Tensor, "3 H W"]:
    """A picture upright on white, its shorter side scaled to `size_px`, the middle cut out."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadRequestError(f"{path} cannot be read as a picture ({error})") from None
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    square = ImageOps.fit(page.convert("RGB"), (size_px, size_px), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)


def folder_pictures(
    folder: Path, batch: int, share: Share, *, num_workers: int, size_px: int, seed: int
) -> PictureStream:
    """Batches of someone's own pictures, shuffled anew each time through."""
    dataset = FolderPictures(folder, size_px, batch, share, seed)

    def batches(first_step: int) -> Iterator[tuple[Tensor, list[str]]]:
        loader = DataLoader(
            dataset, batch_size=None, sampler=range(first_step, ENDLESS), num_workers=num_workers
        )
        for item in loader:
            if isinstance(item, BadRequestError):
                raise item
            yield item

    return batches


@dataclass(frozen=True)
class TokenBatch:
    """Right-padded sequences and the tokens to learn."""

    ids: Int64[Tensor, "B T"]
    places: Int64[Tensor, " N"]
    """Of the tokens before those to learn, in `ids` laid flat."""
    targets: Int64[Tensor, " N"]
    """The tokens to learn."""

    def to(self, device: torch.device) -> TokenBatch:
        """The batch on another device."""
        parts = (self.ids, self.places, self.targets)
        return TokenBatch(*(part.to(device, non_blocking=True) for part in parts))


def padded(sequences: Sequence[tuple[Sequence[int], int]]) -> TokenBatch:
    """Sequences, each with the number of leading tokens that are given, not learned."""
    longest = max(len(ids) for ids, _ in sequences) - 1
    ids = np.zeros((len(sequences), longest), np.int64)
    places, targets = [], []
    for row, (tokens, given) in enumerate(sequences):
        ids[row, : len(tokens) - 1] = tokens[:-1]
        places.append(row * longest + np.arange(given - 1, len(tokens) - 1))
        targets.extend(tokens[given:])
    return TokenBatch(
        torch.from_numpy(ids), torch.from_numpy(np.concatenate(places)), torch.tensor(targets)
    )


class Pairs(Protocol):
    """Sentence pairs, tokenised."""

    lengths: np.ndarray
    """Tokens of both sides of each pair."""
    weights: np.ndarray
    """How often each is drawn, not normalised."""

    def __getitem__(self, row: int) -> tuple[list[int], list[int], str, str]:
        """Source tokens, target tokens and their languages, the source being English."""
        ...


class PackedPairs:
    """The packed sentence pairs."""

    def __init__(self, folder: Path) -> None:
        packed = Packed(folder, "parallel")
        self.sides = PackedTokens(packed, "en"), PackedTokens(packed, "translation")
        self.langs = packed.column("tgt_lang")
        self.lengths = self.sides[0].lengths + self.sides[1].lengths
        weights = packed.numpy("weight").astype(np.float64)
        langs = np.array(self.langs)
        for lang in set(self.langs):  # as many pairs of each, however large its sources are
            rows = langs == lang
            weights[rows] /= weights[rows].sum()
        self.weights = weights

    def __getitem__(self, row: int) -> tuple[list[int], list[int], str, str]:
        return self.sides[0][row].tolist(), self.sides[1][row].tolist(), "en", self.langs[row]


class CsvPairs:
    """Someone's own sentence pairs: a CSV whose columns are two of en, fr, de, es.

    Raises:
        BadRequestError: other columns, or no pair in it.
    """

    def __init__(self, path: Path, tokenizer: ChatTokenizer) -> None:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        columns = [c for c in reader.fieldnames or () if c in LANGUAGES]
        if len(columns) != 2:
            raise BadRequestError(
                f"{path} must have two columns named by language (en, fr, de, es), "
                f"it has {', '.join(reader.fieldnames or ()) or 'none'}"
            )
        self.columns = columns
        self.rows = [
            (tokenizer.encode(row[columns[0]]), tokenizer.encode(row[columns[1]]))
            for row in reader if row[columns[0]] and row[columns[1]]
        ]  # fmt: skip
        if not self.rows:
            raise BadRequestError(f"{path} holds no sentence pair")
        self.lengths = np.array([len(a) + len(b) for a, b in self.rows])
        self.weights = np.ones(len(self.rows))

    def __getitem__(self, row: int) -> tuple[list[int], list[int], str, str]:
        return *self.rows[row], self.columns[0], self.columns[1]


class TranslationStream:
    """Batches of sentence pairs of like length, in both directions; of long ones fewer.

    Args:
        pairs: Where they come from.
        tokenizer: Of the trunk.
        batch: Pairs a step for this process, on average.
        share: This process's part.
        seed: Of the draws.
    """

    def __init__(
        self, pairs: Pairs, tokenizer: ChatTokenizer, batch: int, share: Share, seed: int
    ) -> None:
        self.pairs, self.tokenizer, self.share, self.seed = pairs, tokenizer, share, seed
        self.batch = batch
        self.prompt_tokens = len(translation_prompt([], "en", "fr", tokenizer))
        usable = (pairs.lengths <= MAX_PAIR_TOKENS) & (pairs.weights > 0)
        self.rows = np.flatnonzero(usable)
        if not len(self.rows):
            raise BadRequestError(f"every sentence pair has over {MAX_PAIR_TOKENS} tokens")
        self.ends = np.cumsum(pairs.weights[self.rows])
        self._drawn: tuple[int, list[np.ndarray]] | None = None

    def __call__(self, step: int) -> TokenBatch:
        """The batch of a step."""
        group, place = divmod(step, SORTED_BATCHES)
        if self._drawn is None or self._drawn[0] != group:
            self._drawn = group, self._draw(group)
        rows = self._drawn[1][place][self.share.rank :: self.share.world]
        end = next(iter(self.tokenizer.eos_ids), self.tokenizer.document_start_id)
        sequences = []
        for row, back in rows:
            source, target, src_lang, tgt_lang = self.pairs[int(row)]
            if back:
                source, target, src_lang, tgt_lang = target, source, tgt_lang, src_lang
            given = translation_prompt(source, src_lang, tgt_lang, self.tokenizer)
            sequences.append(([*given, *target, end], len(given)))
        return padded(sequences)

    def _draw(self, group: int) -> list[np.ndarray]:
        """SORTED_BATCHES batches of (row, whether it is turned round), of as many tokens each."""
        rng = np.random.default_rng((self.seed, 1, group))
        whole = self.batch * self.share.world
        drawn = rng.random(SORTED_BATCHES * whole) * self.ends[-1]
        places = np.searchsorted(self.ends, drawn, side="right")
        rows = self.rows[places.clip(max=len(self.rows) - 1)]
        rows = rows[np.argsort(self.pairs.lengths[rows], kind="stable")]
        both = np.stack([rows, rng.random(len(rows)) < 0.5], 1)
        ends = np.cumsum(self.pairs.lengths[rows] + self.prompt_tokens)
        shares = np.arange(1, SORTED_BATCHES) / SORTED_BATCHES
        batches = np.split(both, np.searchsorted(ends, ends[-1] * shares))
        if min(map(len, batches)) < self.share.world:
            batches = np.split(both, SORTED_BATCHES)
        return [batches[place] for place in rng.permutation(SORTED_BATCHES)]


class Numbered(Dataset):
    """The batches of a stream by their steps, for worker processes to make ahead."""

    def __init__(self, stream: Callable[[int], TokenBatch]) -> None:
        self.stream = stream

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, step: int) -> TokenBatch:
        return self.stream(step)


def made_ahead(
    stream: Callable[[int], TokenBatch], first_step: int, num_workers: int
) -> Iterator[TokenBatch]:
    """A stream's batches from a step on; worker processes, where there are any, make them."""
    return iter(
        DataLoader(
            Numbered(stream), batch_size=None, sampler=range(first_step, ENDLESS),
            num_workers=num_workers, prefetch_factor=8 if num_workers else None,
        )
    )  # fmt: skip


class TextStream:
    """Passages of prose, cut at a length."""

    def __init__(
        self, folder: Path, tokenizer: ChatTokenizer, batch: int, share: Share, seed: int,
        max_tokens: int = 256,
    ) -> None:  # fmt: skip
        packed = Packed(folder, "text")
        self.tokens = PackedTokens(packed, "tokens")
        self.start = tokenizer.document_start_id
        self.batch, self.share, self.seed, self.max_tokens = batch, share, seed, max_tokens

    def __call__(self, step: int) -> TokenBatch:
        """The batch of a step."""
        rng = np.random.default_rng((self.seed, 2, step))
        rows = rng.integers(len(self.tokens), size=self.batch * self.share.world)
        mine = rows[self.share.rank :: self.share.world]
        return padded(
            [([self.start, *self.tokens[int(row)][: self.max_tokens].tolist()], 1) for row in mine]
        )
