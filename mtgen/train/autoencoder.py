"""`python -m mtgen.train autoencoder --minutes N`: trains the autoencoder that codes pictures.

Losses: absolute, squared and gradient differences of pixels. A share of the steps decodes, distorts
(JPEG, half size, noise) and encodes again, and asks for the same codes: marks are read from them.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mtgen.cli import Parser, print_json
from mtgen.data.loader import picture_loader
from mtgen.data.packed import Packed
from mtgen.errors import BadRequestError, CacheWriteError, MtgenError, SettingError
from mtgen.model.autoencoder import Autoencoder, AutoencoderConfig
from mtgen.model.checkpoint import read_weights, save_weights
from mtgen.model.files import AUTOENCODER
from mtgen.requests import check_number

STATE = "autoencoder.pt"
METRICS = "autoencoder.jsonl"
EVALUATE_MINUTES = 5.0
JPEG_QUALITIES = (40, 90)
NOISE = 6.0
"""Standard deviation in steps of 255."""
MARGIN = 0.25
"""Latents this near to their level, of 1 between levels, count as safe when coded again."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining:
    """Settings of a run."""

    lr: float = 1e-3
    batch: int = 16
    """Crops a step; whole pictures take their place near the end, fewer a step."""
    crop_px: int = 128
    whole: float = 0.2
    """Share of the run, at its end, that trains on whole pictures."""
    warmup: float = 0.02
    decay: float = 0.5
    """Share of the run, at its end, in which the rate falls along a half cosine."""
    squared: float = 2.0
    """Weight of the squared difference beside the absolute one."""
    gradient: float = 0.5
    """Weight of the absolute difference between neighbouring pixels' differences."""
    again: float = 0.1
    """Weight of codes that should stay when the decoded picture is coded again."""
    again_every: int = 3
    """Steps between two that code again."""
    again_from: float = 0.25
    """Share of the run before the first of them."""
    clip: float = 1.0
    ema: float = 0.999
    decoder_only: bool = False
    """Leave the encoder, and so the codes, as they are."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "crop_px", "again_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("whole", "warmup", "decay", "again_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} must be from 0 to 1, got {getattr(self, name)}")


def crops(
    pixels: UInt8[Tensor, "B 3 H W"], size_px: int, generator: torch.Generator
) -> UInt8[Tensor, "B 3 h w"]:
    """The richer of two random crops of each picture: most of flat art is empty."""
    side = pixels.shape[-1]
    if size_px >= side:
        return pixels
    kept = []
    for picture in pixels:
        tried = []
        for top, left in torch.randint(0, side - size_px + 1, (2, 2), generator=generator).tolist():
            crop = picture[:, top : top + size_px, left : left + size_px]
            tried.append((float(differences(crop[None].float())), crop))
        kept.append(max(tried, key=lambda pair: pair[0])[1])
    return torch.stack(kept)


def differences(x: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Mean absolute difference of neighbouring pixels, both ways."""
    down, right = x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]
    return down.abs().mean() + right.abs().mean()


def to_unit(pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """0..255 to -1..1, in the memory layout that convolutions are fast in."""
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_bytes(pixels: Float[Tensor, "B 3 H W"]) -> UInt8[Tensor, "B 3 H W"]:
    """-1..1 to 0..255."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def through_jpeg(picture: UInt8[np.ndarray, "H W 3"], quality: int) -> UInt8[np.ndarray, "H W 3"]:
    """Saves as JPEG and reads again."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def through_half(picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Half the size and back."""
    side = picture.shape[0]
    small = Image.fromarray(picture).resize((side // 2, side // 2), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def distorted(
    pixels: Float[Tensor, "B 3 H W"], rng: np.random.Generator
) -> Float[Tensor, "B 3 H W"]:
    """Each picture as it is, after JPEG, at half size and back, or with noise, in turn."""
    arrays = to_bytes(pixels).permute(0, 2, 3, 1).cpu().numpy()
    result = []
    for number, array in enumerate(arrays):
        kind = (number + int(rng.integers(4))) % 4
        if kind == 1:
            array = through_jpeg(array, int(rng.integers(*JPEG_QUALITIES)))
        elif kind == 2:
            array = through_half(array)
        elif kind == 3:
            array = np.clip(array + rng.normal(0, NOISE, array.shape), 0, 255).astype(np.uint8)
        result.append(torch.from_numpy(np.array(array)))
    return to_unit(torch.stack(result).permute(0, 3, 1, 2)).to(pixels.device)


@torch.no_grad()
def evaluate(
    model: Autoencoder, pixels: UInt8[Tensor, "N 3 H W"], batch: int = 16
) -> dict[str, Any]:
    """Reconstruction and stability of codes on given pictures.

    Returns:
        psnr_db: Mean over pictures of 10 log10(255^2 / squared error).
        psnrs: Each picture's.
        same_codes, same_after_jpeg50, same_after_half: Shares of codes, 0..1, that the decoded
            picture gives again.
    """
    device = next(model.parameters()).device
    psnrs: list[float] = []
    same: dict[str, list[float]] = {}
    for start in range(0, len(pixels), batch):
        true = pixels[start : start + batch]
        codes = model.encode(to_unit(true).to(device))
        decoded = to_bytes(model.decode(codes)).cpu()
        error = ((decoded.float() - true.float()) ** 2).mean((1, 2, 3))
        psnrs += (10 * torch.log10(255**2 / error.clamp_min(1e-2))).tolist()
        arrays = decoded.permute(0, 2, 3, 1).numpy()
        changed = {
            "same_codes": arrays,
            "same_after_jpeg50": np.stack([through_jpeg(a, 50) for a in arrays]),
            "same_after_half": np.stack([through_half(a) for a in arrays]),
        }
        for name, pictures in changed.items():
            again = model.encode(to_unit(torch.tensor(pictures).permute(0, 3, 1, 2)).to(device))
            same.setdefault(name, []).append(float((again == codes).float().mean()))
    return {
        "psnr_db": float(np.mean(psnrs)), "psnrs": psnrs,
        **{name: float(np.mean(values)) for name, values in same.items()},
    }  # fmt: skip


def held_out_pixels(path: Path, size_px: int) -> tuple[UInt8[Tensor, "N 3 H W"], list[str]]:
    """Held-out pictures of a data build on white, and the style of each."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["image", "source"])
    pictures = []
    for entry in table["image"].to_pylist():
        opened = Image.open(io.BytesIO(entry["bytes"])).convert("RGBA")
        page = Image.new("RGBA", opened.size, "white")
        page.alpha_composite(opened)
        square = page.convert("RGB").resize((size_px, size_px), Image.Resampling.LANCZOS)
        pictures.append(torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1))
    return torch.stack(pictures), table["source"].to_pylist()


class AutoencoderTrainer:
    """One run of so many minutes; goes on from the checkpoint in its folder."""

    def __init__(
        self,
        folder: Path,
        config: AutoencoderConfig,
        training: AutoencoderTraining,
        minutes: float,
        device: torch.device,
        start: dict[str, Tensor] | None = None,
    ) -> None:
        self.folder, self.training, self.minutes, self.device = folder, training, minutes, device
        torch.manual_seed(training.seed)
        self.model = Autoencoder(config)
        if start is not None:
            self.model.load_state_dict(start)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.encoder.requires_grad_(not training.decoder_only)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.average = Autoencoder(config).requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        self.average.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=training.lr, betas=(0.9, 0.99), weight_decay=1e-4, fused=True
        )
        self.step, self.elapsed_s = 0, 0.0
        path = folder / STATE
        if path.is_file():
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                self.model.load_state_dict(state["model"])
                self.average.load_state_dict(state["average"])
                self.optimizer.load_state_dict(state["optimizer"])
            except Exception as error:
                first = " ".join(str(error).split())[:160]
                raise BadRequestError(
                    f"the checkpoint {path} is damaged or of a run with other settings ({first}); "
                    "use another --out"
                ) from None
            self.step, self.elapsed_s = state["step"], state["elapsed_s"]

    def rate(self, done: float) -> float:
        """Learning rate at `done` of the run, 0..1."""
        training = self.training
        share = min(1.0, (done + 1e-4) / (training.warmup + 1e-4))
        if done > 1 - training.decay:
            past = (done - 1 + training.decay) / training.decay
            share = 0.5 * (1 + math.cos(math.pi * min(1.0, past)))
        return training.lr * share

    def loss(
        self, pixels: UInt8[Tensor, "B 3 H W"], done: float
    ) -> tuple[Tensor, dict[str, float]]:
        """The objective of one step, and its parts."""
        training = self.training
        x = to_unit(pixels.to(self.device))
        latents = self.model.latents(x)
        levels = self.model.quantise(latents)
        decoded = self.model.decoder(levels).float()
        error = decoded - x
        squared = error.square().mean()
        loss = error.abs().mean() + training.squared * squared
        loss = loss + training.gradient * differences(error)
        parts = {"psnr_db": 10 * math.log10(4 / max(float(squared.detach()), 1e-9))}
        if training.again and done >= training.again_from and self.step % training.again_every == 0:
            half = (len(x) + 1) // 2
            if training.decoder_only:  # the decoder learns to draw what is coded the same
                seen = decoded[:half]
            else:
                rng = np.random.default_rng((training.seed, self.step))
                seen = distorted(decoded[:half].detach(), rng)
            again = self.model.latents(seen)
            moved = (again - levels[:half].detach()).abs().sub(MARGIN).relu().mean()
            parts["again"] = float(moved.detach())
            loss = loss + training.again * moved
        return loss, parts

    def run(
        self, pack: Path, *, num_workers: int, size_px: int, held_out: Tensor | None
    ) -> dict[str, Any]:
        """Trains to the end of the minutes; exports the averaged weights; gives their scores."""
        from tqdm import tqdm

        Packed(pack, "images")  # what is missing is said before any worker starts
        training, total = self.training, 60 * self.minutes
        loader = picture_loader(
            pack, batch_size=training.batch, num_batches=2**40, first_batch=self.step,
            num_workers=num_workers, size_px=size_px, seed=training.seed + 7,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(training.seed * 2**20 + self.step)
        bf16 = self.device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        bar = tqdm(total=round(total), file=sys.stderr, mininterval=1, unit="s")
        evaluated = self.elapsed_s
        with (self.folder / METRICS).open("a", encoding="utf-8") as metrics:
            for batch in loader:
                done = self.elapsed_s / total
                if done >= 1:
                    break
                began = time.perf_counter()
                whole = done > 1 - training.whole
                pixels = batch["pixels"]
                share = (training.crop_px / pixels.shape[-1]) ** 2
                pixels = (
                    pixels[: max(1, round(training.batch * share))]
                    if whole else crops(pixels, training.crop_px, generator)
                )  # fmt: skip
                for group in self.optimizer.param_groups:
                    group["lr"] = self.rate(done)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                    loss, parts = self.loss(pixels, done)
                self.optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.trained, training.clip)
                self.optimizer.step()
                self.step += 1
                self._average()
                if not math.isfinite(value := loss.item()):
                    raise MtgenError(
                        f"the loss is no longer finite at step {self.step}; "
                        "resume with a lower --lr"
                    )
                self.elapsed_s += time.perf_counter() - began
                bar.n = min(round(self.elapsed_s), bar.total)
                bar.set_postfix({"step": self.step, "loss": f"{value:.4f}", **parts})
                if self.elapsed_s - evaluated > 60 * EVALUATE_MINUTES:
                    evaluated = self.elapsed_s
                    self.save()
                    line = {"step": self.step, "minutes": self.elapsed_s / 60, "loss": value}
                    if held_out is not None:
                        line |= evaluate(self.average, held_out[:48])
                        line.pop("psnrs")
                    metrics.write(json.dumps(line) + "\n")
                    metrics.flush()
        bar.close()
        self.save()
        scores = {} if held_out is None else evaluate(self.average, held_out)
        scores |= {"step": self.step, "minutes": round(self.elapsed_s / 60, 1)}
        save_weights(
            self.folder / AUTOENCODER, self.average, self.model.config,
            step=str(self.step), minutes=f"{self.elapsed_s / 60:.1f}",
        )  # fmt: skip
        return scores

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.training.ema, (1 + self.step) / (10 + self.step))
        averages: list[Tensor] = list(self.average.parameters())
        values: list[Tensor] = list(self.model.parameters())
        get_ema_multi_avg_fn(keep)(averages, values, 0)

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        state = {
            "model": self.model.state_dict(), "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(), "step": self.step,
            "elapsed_s": self.elapsed_s,
        }  # fmt: skip
        partial = self.folder / (STATE + ".part")
        try:
            torch.save(state, partial)
            partial.replace(self.folder / STATE)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise CacheWriteError(
                f"no checkpoint could be written to {self.folder}: {error}"
            ) from None


def build_parser() -> Parser:
    """The command line; settings' flags come from the fields of `AutoencoderTraining`."""
    parser = Parser(prog="python -m mtgen.train autoencoder", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, required=True, help="how long, resumed parts included"
    )
    parser.add_argument("--pack", type=Path, default=Path("build/pack"), help="packed pictures")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/autoencoder"),
        help="checkpoints and weights; resumed if there are any",
    )
    parser.add_argument(
        "--held-out", type=Path, help="held_out.parquet of a data build, to score on"
    )
    parser.add_argument("--weights", type=Path, help="folder of weights to start from")
    parser.add_argument(
        "--num-codes", type=int, default=AutoencoderConfig.num_codes, help="codes of a cell"
    )
    parser.add_argument("--size-px", type=int, default=256, help="side of the training pictures")
    parser.add_argument("--workers", type=int, default=1, help="processes that compose pictures")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    for field in dataclasses.fields(AutoencoderTraining):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    return parser


def main(arguments: list[str]) -> None:
    from mtgen.engine.runtime import use_all_cores

    options = build_parser().parse_args(arguments)
    check_number("minutes", options.minutes, 0, 1e6, open_low=True)
    check_number("workers", options.workers, 0, 256, integer=True)
    if options.decoder_only and options.weights is None:
        raise BadRequestError("--decoder-only goes on from an encoder; name its folder: --weights")
    names = [field.name for field in dataclasses.fields(AutoencoderTraining)]
    training = AutoencoderTraining(**{name: getattr(options, name) for name in names})
    config, start = AutoencoderConfig(num_codes=options.num_codes), None
    if options.weights is not None:
        config, start, _ = read_weights(options.weights / AUTOENCODER, AutoencoderConfig)
    for name in ("crop_px", "size_px"):
        if getattr(options, name) % config.cell_px:
            raise SettingError(
                f"{name} must be a multiple of {config.cell_px}, got {getattr(options, name)}"
            )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheWriteError(f"the run's folder {options.out} cannot be used: {error}") from None
    use_all_cores()
    device = torch.device("cuda" if torch.cuda.is_available() and not options.cpu else "cpu")
    held_out, styles = (
        (None, [])
        if options.held_out is None
        else held_out_pixels(options.held_out, options.size_px)
    )
    trainer = AutoencoderTrainer(options.out, config, training, options.minutes, device, start)
    scores = trainer.run(
        options.pack, num_workers=options.workers, size_px=options.size_px, held_out=held_out
    )
    if (psnrs := scores.pop("psnrs", None)) is not None:
        for style in sorted(set(styles)):
            of_style = [p for p, s in zip(psnrs, styles, strict=True) if s == style]
            scores[f"psnr_db/{style}"] = float(np.mean(of_style))
    if options.json:
        print_json(scores)
    else:
        print("\n".join(f"{name}: {value:.4g}" for name, value in scores.items()))
