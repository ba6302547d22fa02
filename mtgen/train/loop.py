"""The training loop: one objective over all tasks, on one CPU, one GPU or several processes."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mtgen.errors import BadRequestError, CacheWriteError, MtgenError
from mtgen.model.autoencoder import Autoencoder
from mtgen.model.checkpoint import save_weights
from mtgen.model.files import AUTOENCODER, IMAGE_EXPERT, PICTURE_TOKENIZER, TRANSLATION_EXPERT
from mtgen.model.image_expert import ImageExpert
from mtgen.model.picture_tokenizer import PictureTokenizer
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.model.transformer import TrunkModel
from mtgen.tasks.image import prompt_ids
from mtgen.train.config import TrainConfig, lr_share
from mtgen.train.experts import Experts, Losses, PictureBatch, numbered_draws
from mtgen.train.report import Report
from mtgen.train.streams import (
    PictureStream,
    TextStream,
    TokenBatch,
    TranslationStream,
    made_ahead,
)

STATE = "state.pt"
TRUNK = "trunk"
"""Folder of the trunk of a run that trained it."""
LAYER = re.compile(r"\.(blocks|encoder)\.")
"""In the names of what Muon may train."""
SETTINGS = "config.json"
COMPILE_MINUTES = 15.0
"""Shortest CPU run that is compiled: it takes over a minute, and then 1.7 times the speed."""
VALIDATION_PICTURES = 128
VALIDATION_PAIRS = 256
RING = {"cpu": 64, "cuda": 16}
"""Prepared batches of pictures that are kept for reuse: on a GPU one of 512 takes 0.3 GB."""

AHEAD = 3
"""Processes that make batches of text for a GPU, for each task."""

Prepared = tuple[PictureBatch, list[list[int]] | None]
"""A batch, and its prompts where the trunk learns too and must read them again."""


@dataclasses.dataclass
class Sources:
    """Where each task's batches come from; None where a task is left out."""

    pictures: PictureStream | None = None
    validation: PictureStream | None = None
    """Other draws of the same mixture; their loss is measured with the averaged weights."""
    pairs: TranslationStream | None = None
    validation_pairs: TranslationStream | None = None
    text: TextStream | None = None


@dataclasses.dataclass
class Budget:
    """How long a run is, and how often it reports."""

    minutes: float | None = None
    steps: int | None = None
    """Instead of minutes: learning rates then follow steps, and a run is exactly repeatable."""
    checkpoint_minutes: float = 5.0
    log_seconds: float = 10.0
    sheet_minutes: float = 10.0


class Trainer:
    """One run. It resumes by itself from the checkpoint in its folder.

    Args:
        folder: Of checkpoints, metrics and sample sheets.
        config: Of the run.
        trunk: Differentiable trunk.
        tokenizer: Of the trunk.
        autoencoder: Trained; None where no pictures are trained on.
        picture_tokenizer: Trained; for the image expert.
        sources: Batches of each task.
        budget: How long.
        accelerator: Where it runs.
        start: Weights to begin with, by expert: fine-tuning.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        trunk: TrunkModel,
        tokenizer: ChatTokenizer,
        autoencoder: Autoencoder | None,
        picture_tokenizer: PictureTokenizer | None,
        sources: Sources,
        budget: Budget,
        accelerator: Accelerator,
        start: dict[str, dict[str, Tensor]] | None = None,
    ) -> None:
        self.folder, self.config, self.budget, self.sources = folder, config, budget, sources
        self.tokenizer, self.accelerator = tokenizer, accelerator
        self.device = accelerator.device
        torch.manual_seed(config.seed)
        if accelerator.mixed_precision == "bf16" and not config.unfreeze:
            trunk = trunk.to(torch.bfloat16)  # else autocast converts all of it at every step
        self.experts = Experts(trunk, config, picture_tokenizer).to(self.device)
        for name, tensors in (start or {}).items():
            getattr(self.experts, name).load_state_dict(tensors)
        self.autoencoder = autoencoder
        if autoencoder is not None:
            autoencoder.to(self.device).requires_grad_(False)
        if self._worth_compiling():
            self.experts.compile_layers()
        self.trained = {n: p for n, p in self.experts.named_parameters() if p.requires_grad}
        self.optimizers = self._optimizers()
        model, *optimizers = accelerator.prepare(self.experts, *self.optimizers)
        self.model: nn.Module = model
        self.optimizers = optimizers
        self.averages = {n: p.detach().float().clone() for n, p in self.trained.items()}
        self.step = 0
        self.elapsed_s = 0.0
        kept = RING.get(self.device.type, 16) if config.reuse > 1 else 1
        self.ring: deque[Prepared] = deque(maxlen=kept)
        self.validation: list[Prepared] = []
        self.validation_pairs: list[TokenBatch] = []
        self.totals: dict[str, float | Tensor] = {}
        self._rng = np.random.default_rng
        self._resume()

    @property
    def drawing(self) -> ImageExpert | PictureTokenizer:
        """The picture network that is trained."""
        network = self.experts.image or self.experts.picture_tokenizer
        assert network is not None
        return network

    def _worth_compiling(self) -> bool:
        """On a GPU always; on a CPU in long runs, where there is a C++ compiler."""
        if self.config.eager or self.device.type == "cuda":
            return not self.config.eager
        long = (self.budget.minutes or 0) >= COMPILE_MINUTES
        return long and any(map(shutil.which, ("g++", "clang++")))

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        config = self.config
        groups: dict[str, list[nn.Parameter]] = {
            "muon": [],
            "image": [],
            "low_rank": [],
            "trunk": [],
        }
        for name, parameter in self.trained.items():
            if name.startswith("trunk."):
                groups["trunk"].append(parameter)
            elif name.startswith("translation."):
                groups["low_rank"].append(parameter)
            elif config.optimizer == "muon" and parameter.ndim == 2 and LAYER.search(name):
                groups["muon"].append(parameter)
            else:
                groups["image"].append(parameter)
        rates = {"image": config.lr, "low_rank": config.low_rank_lr, "trunk": config.trunk_lr}
        by_adam = [
            {"params": groups[name], "lr": rate, "peak": rate}
            for name, rate in rates.items() if groups[name]
        ]  # fmt: skip
        found: list[torch.optim.Optimizer] = []
        if by_adam:
            found.append(
                torch.optim.AdamW(
                    by_adam, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
                )
            )
        if groups["muon"]:
            muon = torch.optim.Muon(
                groups["muon"], lr=config.lr, weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )  # fmt: skip
            muon.param_groups[0]["peak"] = config.lr
            found.append(muon)
        return found

    # --- batches -------------------------------------------------------------------------

    def _prepare_pictures(
        self, number: int, batches: Iterator[tuple[Tensor, list[str]]]
    ) -> Prepared:
        """Codes pictures and reads their prompts: fresh batch `number`."""
        pixels, captions = next(batches)
        assert self.autoencoder is not None
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        first = (number * world + rank) * len(captions)
        draws = numbered_draws((self.config.seed, 3), first + np.arange(len(captions)), 1)[:, 0]
        prompts = [
            prompt_ids("" if draw < self.config.prompt_dropout else caption, self.tokenizer)
            for draw, caption in zip(draws, captions, strict=True)
        ]
        with torch.no_grad(), self.accelerator.autocast():
            x = pixels.to(self.device, non_blocking=True).float() / 127.5 - 1
            cells = self.autoencoder.encode(x.contiguous(memory_format=torch.channels_last))
            tokens = None
            if self.experts.image is not None:
                assert self.experts.picture_tokenizer is not None
                tokens = self.experts.picture_tokenizer.encode(cells)
            keys_values, mask = self.experts.read_prompts(prompts)
        batch = PictureBatch(cells, tokens, keys_values, mask, first)
        return batch, prompts if self.config.unfreeze else None

    def _pictures(self, batches: Iterator[tuple[Tensor, list[str]]]) -> Prepared:
        """A fresh batch every `reuse` steps, between them one of the ring."""
        reuse = self.config.reuse
        if self.step % reuse == 0:
            self.ring.append(self._prepare_pictures(self.step // reuse, batches))
            return self.ring[-1]
        return self.ring[int(self._rng((self.config.seed, 4, self.step)).integers(len(self.ring)))]

    # --- the loop ------------------------------------------------------------------------

    def done(self) -> float:
        """How much of the run is over, 0..1."""
        if self.budget.steps is not None:
            return self.step / self.budget.steps
        assert self.budget.minutes is not None
        return self.elapsed_s / (60 * self.budget.minutes)

    def run(self) -> dict[str, Any]:
        """Trains to the end of the budget and exports the averaged weights.

        Returns:
            The last line of the metrics.
        """
        pictures = None
        if self.sources.pictures is not None:
            fresh = -(-self.step // self.config.reuse)
            kept = min(self.ring.maxlen or 0, fresh) if self.config.reuse > 1 else 0
            pictures = self.sources.pictures(fresh - kept)
            for number in range(fresh - kept, fresh):
                self.ring.append(self._prepare_pictures(number, pictures))
        if self.sources.validation is not None:
            other = self.sources.validation(0)
            batches = max(1, VALIDATION_PICTURES // self.config.image_batch)
            self.validation = [self._prepare_pictures(n, other) for n in range(batches)]
        if (draws := self.sources.validation_pairs) is not None:
            batches = max(1, VALIDATION_PAIRS // draws.batch)
            self.validation_pairs = [draws(step).to(self.device) for step in range(batches)]
        pairs, text = (
            stream and made_ahead(stream, self.step, AHEAD if self.device.type == "cuda" else 0)
            for stream in (self.sources.pairs, self.sources.text)
        )
        report = Report(self)
        saved = sheeted = self.elapsed_s
        while self.done() < 1:
            began = time.perf_counter()
            losses = self._step(pictures, pairs, text)
            self.elapsed_s += time.perf_counter() - began
            self._agree_on_time()
            report.add(losses)
            if self.elapsed_s - saved > 60 * self.budget.checkpoint_minutes:
                report.flush()
                self.save()
                self.export()
                report.validated(self.validate())
                saved = self.elapsed_s
            if self.elapsed_s - sheeted > 60 * self.budget.sheet_minutes:
                self.draw_sheet()
                sheeted = self.elapsed_s
        report.flush()
        self.save()
        self.export()
        self.draw_sheet()
        return report.close(self.validate())

    def _agree_on_time(self) -> None:
        """All processes follow the first one's clock."""
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast

            clock = torch.tensor(self.elapsed_s, dtype=torch.float64, device=self.device)
            broadcast(clock)  # in place
            self.elapsed_s = clock.item()

    def _step(
        self,
        pictures: Iterator[tuple[Tensor, list[str]]] | None,
        pairs: Iterator[TokenBatch] | None,
        text: Iterator[TokenBatch] | None,
    ) -> dict[str, Tensor]:
        """Learns from one batch of each task; nothing here waits for a GPU to be done."""
        share = lr_share(self.done(), self.config)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
        batch, prompts = (None, None) if pictures is None else self._pictures(pictures)
        given = [
            None if stream is None else next(stream).to(self.device) for stream in (pairs, text)
        ]
        with self.accelerator.autocast():
            losses: Losses = self.model(batch, prompts, *given, self.step)
        counts = torch.stack(list(losses.counts.values()))
        totals = self._over_processes(counts)
        world = self.accelerator.num_processes
        loss = torch.zeros((), device=self.device)
        for (task, value), total in zip(losses.sums.items(), totals, strict=True):
            # gradients are averaged over processes: times their number gives the whole sum
            loss = loss + self.config.tasks[task] * value * world / total
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(list(self.trained.values()), self.config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self._average()
        sums = self._over_processes(torch.stack(list(losses.sums.values())).detach())
        for task, total in zip(losses.counts, totals, strict=True):
            self.totals[task] = self.totals.get(task, 0.0) + total
        return dict(zip(losses.sums, sums / totals, strict=True))

    def check(self, losses: dict[str, float]) -> None:
        """Stops a run that has gone astray.

        Raises:
            MtgenError: a loss is no longer finite.
        """
        if not all(map(math.isfinite, losses.values())):
            raise MtgenError(
                f"the loss is no longer finite at step {self.step} ({losses}); resume from the "
                "last checkpoint with a lower --lr"
            )

    def _over_processes(self, values: Tensor) -> Tensor:
        """The sum of each value over all processes."""
        total = self.accelerator.reduce(values, "sum")
        assert isinstance(total, Tensor)
        return total

    def _average(self) -> None:
        keep = min(self.config.ema, (1 + self.step) / (10 + self.step))
        values = [p.detach() for p in self.trained.values()]
        get_ema_multi_avg_fn(keep)(list(self.averages.values()), values, 0)

    # --- files ---------------------------------------------------------------------------

    def save(self) -> None:
        """Writes a checkpoint that `_resume` goes on from."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "totals": {task: float(total) for task, total in self.totals.items()},
            "trained": {n: p.detach().cpu() for n, p in self.trained.items()},
            "averages": {n: a.cpu() for n, a in self.averages.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        partial = self.folder / (STATE + ".part")
        try:
            torch.save(state, partial)
            partial.replace(self.folder / STATE)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise CacheWriteError(
                f"no checkpoint could be written to {self.folder}: {error}"
            ) from None

    def _resume(self) -> None:
        path = self.folder / STATE
        if not path.is_file():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise BadRequestError(
                f"the checkpoint {path} cannot be read ({error}); delete it to start anew"
            ) from None
        shapes = {name: tensor.shape for name, tensor in self.averages.items()}
        if {name: tensor.shape for name, tensor in state["averages"].items()} != shapes or len(
            state["optimizers"]
        ) != len(self.optimizers):
            raise BadRequestError(
                f"the checkpoint {path} is of a run with other experts; use another --out"
            )
        self._load(state["trained"])
        for name, tensor in self.averages.items():
            tensor.copy_(state["averages"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            asked = [(group["peak"], group["weight_decay"]) for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, (peak, weight_decay) in zip(optimizer.param_groups, asked, strict=True):
                group["peak"], group["weight_decay"] = peak, weight_decay
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self.totals = state["totals"]

    def averaged(self, name: str) -> dict[str, Tensor]:
        """Weights of one expert, by their names in it: the averages, and what is frozen."""
        weights: dict[str, Tensor] = getattr(self.experts, name).state_dict()
        return {key: self.averages.get(f"{name}.{key}", held) for key, held in weights.items()}

    def export(self) -> None:
        """Writes the averaged weights for `mtgen.load(weights=...)`, and what they need."""
        if not self.accelerator.is_main_process:
            return
        notes = {
            "step": str(self.step),
            "minutes": f"{self.elapsed_s / 60:.1f}",
            "styles": json.dumps(self.config.styles),
            "targets": json.dumps({task: int(total) for task, total in self.totals.items()}),
        }
        for name, file, shape in (
            ("picture_tokenizer", PICTURE_TOKENIZER, self.config.tokens),
            ("image", IMAGE_EXPERT, self.config.image),
            ("translation", TRANSLATION_EXPERT, self.config.low_rank),
        ):
            if any(key.startswith(name + ".") for key in self.averages):
                save_weights(self.folder / file, self.averaged(name), shape, **notes)
        if self.config.unfreeze:
            self.experts.trunk.save(self.folder / TRUNK, self.averaged("trunk"))
        frozen: list[tuple[str, Autoencoder | PictureTokenizer | None]]
        frozen = [(AUTOENCODER, self.autoencoder)]
        if self.experts.image is not None:
            frozen.append((PICTURE_TOKENIZER, self.experts.picture_tokenizer))
        for file, network in frozen:  # what was trained draws with these alone
            if network is not None:
                save_weights(self.folder / file, network, network.config)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Everything trained has its averaged weights for as long as the context lasts."""
        held = {n: p.detach().clone() for n, p in self.trained.items()}
        self._load(self.averages)
        self.experts.eval()
        try:
            yield
        finally:
            self._load(held)
            self.experts.train()

    @torch.no_grad()
    def _load(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.trained.items():
            parameter.copy_(weights[name])

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses in nats, with the averaged weights, of this process's validation data.

        Of pictures by place, of translations by target token, without label smoothing.
        """
        losses: dict[str, float] = {}
        with self.averaged_weights(), self.accelerator.autocast():
            if self.validation:
                by_place = [
                    self.experts.picture_losses(batch, prompts, step=0)
                    for batch, prompts in self.validation
                ]
                losses["validation"] = float(torch.cat(by_place).mean())
            if self.validation_pairs:
                parts = [
                    self.experts.token_loss(batch, self.experts.translation, 0.0)
                    for batch in self.validation_pairs
                ]
                total, count = (sum(map(float, column)) for column in zip(*parts, strict=True))
                losses["validation_translate"] = total / count
        return losses

    def draw_sheet(self) -> None:
        """Draws a sheet of samples with the averaged weights; of the tokenizer, pairs."""
        if self.accelerator.is_main_process and self.config.draws:
            from mtgen.train.sheets import draw_pairs, draw_samples

            assert self.autoencoder is not None
            with self.averaged_weights():
                if self.experts.image is not None:
                    page = draw_samples(self.experts, self.autoencoder, self.tokenizer)
                elif self.validation:
                    page = draw_pairs(self.experts, self.autoencoder, self.validation[0][0])
                else:
                    page = None
            if page is not None:
                page.save(self.folder / f"samples-{self.step:06d}.png")
        self.accelerator.wait_for_everyone()


def make_accelerator(cpu: bool, precision: str | None, bf16_is_fast: bool) -> Accelerator:
    """Where a run takes place; started by `torchrun`, it is one of several processes."""
    on_gpu = torch.cuda.is_available() and not cpu
    if precision is None:
        precision = "bf16" if on_gpu or bf16_is_fast else "float32"
    mixed = "bf16" if precision == "bf16" else "no"
    return Accelerator(cpu=not on_gpu, mixed_precision=mixed)
