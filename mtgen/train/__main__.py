"""`python -m mtgen.train --minutes N`: trains the experts of all tasks in one run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import typing
from pathlib import Path
from typing import Any

from mtgen.cli import Parser, commit, print_json, run
from mtgen.errors import BadRequestError, CacheWriteError, SettingError
from mtgen.requests import check_number

if typing.TYPE_CHECKING:
    from torch import Tensor

    from mtgen.model.tokenizer import ChatTokenizer
    from mtgen.train.config import TrainConfig
    from mtgen.train.loop import Sources
    from mtgen.train.streams import Share

VALIDATION_SEED = 2**32
"""Of the data whose loss is watched: other draws than those of any run."""
VALIDATION_BATCH = 128
MAY_CHANGE = ("lr", "low_rank_lr", "trunk_lr", "weight_decay", "commit")
"""Settings with which a run may go on that it was not begun with."""

EXAMPLES = """
examples:
  python -m mtgen.train autoencoder --minutes 60 --pack build/pack
  python -m mtgen.train --minutes 60 --tokens-weight 1 --image-weight 0 --translate-weight 0
  python -m mtgen.train --minutes 60 --preset small --pack build/pack --out build/run
  python -m mtgen.train --minutes 10 --data my-pictures --out build/mine
  python -m mtgen.train --minutes 10 --data my-sentences.csv --out build/mine
  torchrun --nproc_per_node 2 -m mtgen.train --minutes 60 --pack build/pack
"""


def build_parser() -> Parser:
    """Flags; those of the settings come from the fields of `TrainConfig`."""
    from mtgen.train.config import PRESETS, TrainConfig

    parser = Parser(
        prog="python -m mtgen.train", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, help="how long; the decay ends inside it")
    parser.add_argument("--steps", type=int, help="instead of minutes: exactly repeatable")
    parser.add_argument("--preset", default="small", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--pack", type=Path, default=Path("build/pack"), help="packed data")
    parser.add_argument(
        "--data",
        type=Path,
        help="fine-tune on a folder of pictures with captions, or a CSV of pairs",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/run"), help="checkpoints, metrics, sheets, weights"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    parser.add_argument(
        "--weights",
        type=Path,
        help="folder of trained experts to start from, or of the autoencoder",
    )
    parser.add_argument(
        "--trunk", metavar="PATH", help="checkpoint folder instead of the pinned trunk"
    )
    parser.add_argument(
        "--precision", choices=("bf16", "float32"), help="bf16 where the machine is fast at it"
    )
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--workers", type=int, default=1, help="processes that compose pictures")
    parser.add_argument("--size-px", type=int, default=256, help="side of the training pictures")
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0, help="between checkpoints")
    parser.add_argument("--sheet-minutes", type=float, default=10.0, help="between sample sheets")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    kinds = typing.get_type_hints(TrainConfig)
    group = parser.add_argument_group("settings (the preset's unless given)")
    for field in dataclasses.fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-")
        if kinds[field.name] is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction)
        elif kinds[field.name] in (int, float):
            group.add_argument(flag, type=kinds[field.name])
        elif field.name == "styles":
            group.add_argument(flag, metavar="A,B", help="sources of pictures; all: an empty text")
        elif field.name == "optimizer":
            group.add_argument(flag, choices=("muon", "adamw"))
    for field in ("n_layer", "n_embd", "n_ff"):
        group.add_argument(
            "--image-" + field.replace("_", "-"), type=int, help="of the image expert"
        )
    group.add_argument("--image-trunk-layers", help="layers of the trunk that it reads, as 1,5,9")
    return parser


def configure(options: argparse.Namespace) -> TrainConfig:
    """The run's settings."""
    from mtgen.train.config import TrainConfig, preset

    names = {field.name for field in dataclasses.fields(TrainConfig)} - {"image"}
    changes = {n: getattr(options, n) for n in names if getattr(options, n, None) is not None}
    if "styles" in changes:
        changes["styles"] = tuple(name for name in changes["styles"].split(",") if name)
    config = preset(options.preset, **changes)
    shape = {
        name: getattr(options, f"image_{name}")
        for name in ("n_layer", "n_embd", "n_ff")
        if getattr(options, f"image_{name}") is not None
    }
    if options.image_trunk_layers:
        try:
            shape["trunk_layers"] = tuple(map(int, options.image_trunk_layers.split(",")))
        except ValueError:
            raise SettingError(
                f"--image-trunk-layers must be numbers with commas between, got "
                f"{options.image_trunk_layers!r}"
            ) from None
    return dataclasses.replace(config, image=dataclasses.replace(config.image, **shape))


def only_task_of(data: Path, config: TrainConfig) -> TrainConfig:
    """The config of fine-tuning on someone's own data: its task alone.

    Raises:
        BadRequestError: neither a folder nor a CSV.
    """
    if not data.is_dir() and (data.suffix.lower() != ".csv" or not data.is_file()):
        raise BadRequestError(
            f"--data must be a folder of pictures or a .csv of sentence pairs, got {data}"
        )
    if not data.is_dir():
        return dataclasses.replace(
            config, tokens_weight=0.0, image_weight=0.0, translate_weight=1.0, text_weight=0.0
        )
    image = 0.0 if config.tokens_weight else 1.0
    return dataclasses.replace(config, image_weight=image, translate_weight=0.0, text_weight=0.0)


def starting_weights(
    folder: Path, config: TrainConfig, required: bool
) -> tuple[TrainConfig, dict[str, dict[str, Tensor]]]:
    """Weights of the trained tasks' experts from a folder, and the config with their shapes.

    Raises:
        WeightsNotFoundError: a file is missing and `required`.
    """
    from mtgen.model.checkpoint import read_weights
    from mtgen.model.files import IMAGE_EXPERT, PICTURE_TOKENIZER, TRANSLATION_EXPERT
    from mtgen.model.image_expert import ImageExpertConfig
    from mtgen.model.picture_tokenizer import PictureTokenizerConfig
    from mtgen.model.transformer import LowRankConfig

    start: dict[str, dict[str, Tensor]] = {}
    image, translation = folder / IMAGE_EXPERT, folder / TRANSLATION_EXPERT
    tokenizer = folder / PICTURE_TOKENIZER
    if config.tokens_weight and (required or tokenizer.is_file()):
        tokens, start["picture_tokenizer"], _ = read_weights(tokenizer, PictureTokenizerConfig)
        config = dataclasses.replace(config, tokens=tokens)
    if config.image_weight and (required or image.is_file()):
        shape, start["image"], _ = read_weights(image, ImageExpertConfig)
        config = dataclasses.replace(config, image=shape)
    if config.translate_weight and translation.is_file():
        low_rank, start["translation"], _ = read_weights(translation, LowRankConfig)
        config = dataclasses.replace(config, rank=low_rank.rank)
    return config, start


def open_sources(
    options: argparse.Namespace, config: TrainConfig, tokenizer: ChatTokenizer, share: Share
) -> Sources:
    """The batches of each task that is trained."""
    from mtgen.train.loop import Sources
    from mtgen.train.streams import (
        CsvPairs,
        PackedPairs,
        TextStream,
        TranslationStream,
        folder_pictures,
        packed_pictures,
    )

    sources = Sources()
    own = options.data
    if config.draws:
        if own is None:
            sources.pictures, sources.validation = (
                packed_pictures(
                    options.pack, batch, share, num_workers=num_workers,
                    size_px=options.size_px, seed=seed, cache_mb=cache_mb,
                    styles=config.styles, tidy=config.tidy,
                )
                for batch, num_workers, seed, cache_mb in (
                    (config.image_batch, options.workers, config.seed, 1400),
                    (min(config.image_batch, VALIDATION_BATCH), 0, VALIDATION_SEED, 64),
                )
            )  # fmt: skip
        else:
            sources.pictures = folder_pictures(
                own, config.image_batch, share,
                num_workers=options.workers, size_px=options.size_px, seed=config.seed,
            )  # fmt: skip
    if config.translate_weight:
        pairs = PackedPairs(options.pack) if own is None else CsvPairs(own, tokenizer)
        sources.pairs, sources.validation_pairs = (
            TranslationStream(pairs, tokenizer, config.translate_batch, share, seed)
            for seed in (config.seed, VALIDATION_SEED)
        )
    if config.text_weight:
        sources.text = TextStream(options.pack, tokenizer, config.text_batch, share, config.seed)
    return sources


def keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Writes a run's settings, unless a run with others is there.

    Raises:
        BadRequestError: there is one; names what differs.
        CacheWriteError: the folder cannot be used.
    """
    from mtgen.model.config import read_json
    from mtgen.train.loop import SETTINGS, STATE

    written = json.dumps(settings, indent=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / STATE).is_file() and (folder / SETTINGS).is_file():
            held = read_json(folder / SETTINGS)
            differ = [
                name for name, value in json.loads(written).items()
                if name not in MAY_CHANGE and held.get(name) != value
            ]  # fmt: skip
            if differ:
                raise BadRequestError(
                    f"{folder} holds a run with other settings ({', '.join(differ)}); give the "
                    "same flags, or another --out"
                )
        (folder / SETTINGS).write_text(written, "utf-8")
    except OSError as error:
        raise CacheWriteError(f"the run's folder {folder} cannot be used: {error}") from None


def train(options: argparse.Namespace) -> None:
    """Sets a run up and runs it."""
    if (options.minutes is None) == (options.steps is None):
        raise BadRequestError("say how long: --minutes N (or --steps N, not both)")
    if options.minutes is not None:
        check_number("minutes", options.minutes, 0, 1e6, open_low=True)
    else:
        check_number("steps", options.steps, 1, 1e9, integer=True)
    check_number("workers", options.workers, 0, 256, integer=True)
    config = configure(options)

    from accelerate import Accelerator

    from mtgen.engine.linear import bf16_is_fast
    from mtgen.engine.runtime import use_all_cores
    from mtgen.model.checkpoint import load_autoencoder, load_picture_tokenizer
    from mtgen.model.files import AUTOENCODER, PICTURE_TOKENIZER, WEIGHTS
    from mtgen.model.tokenizer import ChatTokenizer
    from mtgen.model.transformer import TrunkModel
    from mtgen.model.trunk import find_trunk, sha256_of
    from mtgen.train.loop import Budget, Trainer, make_accelerator
    from mtgen.train.streams import Share

    accelerator: Accelerator = make_accelerator(options.cpu, options.precision, bf16_is_fast())
    if accelerator.device.type == "cpu" and accelerator.num_processes == 1:
        use_all_cores()
    weights = options.weights or WEIGHTS
    trunk_folder = find_trunk(options.trunk, progress=accelerator.is_main_process)
    tokenizer = ChatTokenizer(trunk_folder)
    if options.data is not None:
        config = only_task_of(options.data, config)
    start: dict[str, dict[str, Tensor]] = {}
    if options.data is not None or options.weights is not None:
        config, start = starting_weights(weights, config, required=options.data is not None)
    if config.decoder_only and "picture_tokenizer" not in start:
        raise BadRequestError("decoder_only goes on from a tokenizer; name its folder: --weights")
    trunk = TrunkModel.from_dir(trunk_folder)
    autoencoder = picture_tokenizer = None
    if config.draws:
        autoencoder = load_autoencoder(weights / AUTOENCODER)
        place_px = autoencoder.config.cell_px * config.tokens.patch
        side, rest = divmod(options.size_px, place_px)
        if rest or side < 1:
            raise BadRequestError(f"--size-px must be a multiple of {place_px}")
        tokens = dataclasses.replace(
            config.tokens, num_codes=autoencoder.config.num_codes, side=side
        )
        config = dataclasses.replace(config, tokens=tokens)
    if config.image_weight:
        picture_tokenizer = load_picture_tokenizer(trunk.config, weights / PICTURE_TOKENIZER)
        tokens = picture_tokenizer.config
        image = dataclasses.replace(
            config.image, side=tokens.side, codes_per_place=tokens.codes_per_place
        )
        config = dataclasses.replace(config, tokens=tokens, image=image)
    learned = [len(tensors["position"]) for name, tensors in start.items() if name != "translation"]
    if config.draws and {config.tokens.side**2, *learned} != {side**2}:
        raise BadRequestError(
            f"the weights in {weights} are for pictures of another size than --size-px "
            f"{options.size_px}"
        )
    share = Share(accelerator.process_index, accelerator.num_processes)
    sources = open_sources(options, config, tokenizer, share)
    folder = options.resume or options.out
    files = [weights / AUTOENCODER] if autoencoder else []
    files += [weights / PICTURE_TOKENIZER] if picture_tokenizer else []
    settings = dataclasses.asdict(config) | {
        "size_px": options.size_px,
        "data": str(options.data or ""),
        "weights": {path.name: sha256_of(path) for path in files},
        "commit": commit(),
    }
    keep_settings(folder, settings)
    budget = Budget(
        minutes=options.minutes, steps=options.steps,
        checkpoint_minutes=options.checkpoint_minutes, sheet_minutes=options.sheet_minutes,
    )  # fmt: skip
    trainer = Trainer(
        folder,
        config,
        trunk,
        tokenizer,
        autoencoder,
        picture_tokenizer,
        sources,
        budget,
        accelerator,
        start,
    )
    if trainer.done() >= 1 and accelerator.is_main_process:
        print(
            f"the run in {folder} was over before; a larger budget goes on with it, another --out "
            "starts a new one",
            file=sys.stderr,
        )
    last = trainer.run()
    if options.json and accelerator.is_main_process:
        print_json(last)


def main(arguments: list[str]) -> None:
    if arguments and arguments[0] == "autoencoder":
        from mtgen.train.autoencoder import main as autoencoder

        return autoencoder(arguments[1:])
    return train(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(run(main))
