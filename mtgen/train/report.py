"""What a run tells of itself: a progress line, `metrics.jsonl` and TensorBoard."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtgen.train.config import lr_share

if TYPE_CHECKING:
    from mtgen.train.loop import Trainer

METRICS = "metrics.jsonl"


class Report:
    """The progress line and the metrics files."""

    def __init__(self, trainer: Trainer) -> None:
        from tqdm import tqdm

        self.trainer = trainer
        self.main = trainer.accelerator.is_main_process
        self.began, self.steps = time.perf_counter(), 0
        self.elapsed_s = trainer.elapsed_s
        self.sums: dict[str, Tensor] = {}
        self.before = floats(trainer.totals)
        self.last: dict[str, Any] = {}
        self.extra: dict[str, float] = {}
        self.tracker = None
        self.peak = 0.0
        if self.main:
            self.peak = measured_flops(trainer)
            self.file = (trainer.folder / METRICS).open("a", encoding="utf-8")
            try:
                from torch.utils.tensorboard import SummaryWriter

                self.tracker = SummaryWriter(str(trainer.folder / "tensorboard"))
            except ImportError:
                pass
            budget = trainer.budget
            total = budget.steps if budget.steps is not None else round(60 * (budget.minutes or 0))
            self.bar = tqdm(
                total=total, initial=self._place(), file=sys.stderr, mininterval=1,
                bar_format="{l_bar}{bar}| {desc}",
            )  # fmt: skip

    def _place(self) -> int:
        trainer = self.trainer
        return trainer.step if trainer.budget.steps is not None else round(trainer.elapsed_s)

    def add(self, losses: dict[str, Tensor]) -> None:
        """Counts one step; writes a line now and then, and looks at the losses only then."""
        self.steps += 1
        for task, loss in losses.items():
            self.sums[task] = self.sums[task] + loss if task in self.sums else loss
        by_steps = self.trainer.budget.steps is not None
        if by_steps or time.perf_counter() - self.began > self.trainer.budget.log_seconds:
            self.flush()

    def flush(self) -> None:
        """Writes the means since the last line.

        Raises:
            MtgenError: a loss is no longer finite.
        """
        if not self.steps and not self.extra:
            return
        trainer = self.trainer
        sums = floats(self.sums)
        trainer.check(sums)
        seconds = trainer.elapsed_s - self.elapsed_s  # of steps; not of checkpoints and sheets
        line: dict[str, Any] = {
            "step": trainer.step,
            "processes": trainer.accelerator.num_processes,
            "minutes": round(trainer.elapsed_s / 60, 3),
            "lr_share": round(lr_share(min(1, trainer.done()), trainer.config), 4),
        }
        line |= {f"loss/{task}": total / self.steps for task, total in sums.items()}
        line |= self.extra
        self.extra = {}
        if self.steps:
            line |= self.throughput(seconds)
        self.last = line
        self.began, self.steps, self.sums = time.perf_counter(), 0, {}
        self.elapsed_s = trainer.elapsed_s
        self.before = floats(trainer.totals)
        if not self.main:
            return
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        if self.tracker is not None:
            for name, value in line.items():
                self.tracker.add_scalar(name, value, trainer.step)
        shown = [f"{name} {value:.4g}" for name, value in line.items() if "/" in name]
        if "pictures_per_s" in line:
            shown.append(f"{line['pictures_per_s']} pictures/s, {line['tokens_per_s']} tokens/s")
            shown.append(f"{line['model_flop_share']:.0%} of peak")
        left = trainer.elapsed_s / max(trainer.done(), 1e-9) * max(0.0, 1 - trainer.done())
        self.bar.n = min(self._place(), self.bar.total)
        self.bar.set_description_str(
            f"step {trainer.step}, {', '.join(shown)}, {left / 60:.1f} min left"
        )

    def throughput(self, seconds: float) -> dict[str, float]:
        """Pictures and target tokens a second, and the share of the machine's peak they took."""
        trainer = self.trainer
        world = trainer.accelerator.num_processes
        pictures = 0
        if trainer.sources.pictures is not None:
            pictures = trainer.config.image_batch * world * self.steps
        tokens = sum(
            float(trainer.totals[task]) - self.before.get(task, 0.0)
            for task in ("translate", "text") if task in trainer.totals
        )  # fmt: skip
        operations = pictures * picture_flops(trainer) + tokens * token_flops(trainer)
        return {
            "pictures_per_s": round(pictures / seconds, 1),
            "tokens_per_s": round(tokens / seconds, 1),
            "model_flop_share": round(operations / seconds / max(self.peak * world, 1), 3),
        }

    def validated(self, losses: dict[str, float]) -> None:
        """Puts validation losses into the next line."""
        self.extra |= {f"loss/{name}": loss for name, loss in losses.items()}

    def close(self, validation: dict[str, float]) -> dict[str, Any]:
        """Writes what is left; gives the last line."""
        self.validated(validation)
        self.flush()
        if self.main:
            self.bar.close()
            self.file.close()
            if self.tracker is not None:
                self.tracker.close()
        return self.last


def floats(values: Mapping[str, float | Tensor]) -> dict[str, float]:
    """Numbers that may still be on a GPU."""
    return {name: float(value) for name, value in values.items()}


def picture_flops(trainer: Trainer) -> float:
    """Operations of one picture in its network, forward and backward: 6 a weight and place."""
    if not trainer.config.draws:
        return 0.0
    network = trainer.drawing
    return 6.0 * sum(p.numel() for p in network.parameters()) * len(network.position)


def token_flops(trainer: Trainer) -> float:
    """Operations of one target token; twice more where the trunk's own weights learn."""
    weights = sum(p.numel() for p in trainer.experts.trunk.parameters())
    return (6.0 if trainer.config.unfreeze else 4.0) * weights


def measured_flops(trainer: Trainer) -> float:
    """Operations a second of a large matrix product in the run's precision: the peak."""
    device = trainer.device
    dtype = torch.bfloat16 if trainer.accelerator.mixed_precision == "bf16" else torch.float32
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    best = math.inf
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best
