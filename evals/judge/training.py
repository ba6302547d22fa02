"""A training run is given minutes: it warms up, holds, decays until they are over, and resumes."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from evals.judge.muon import optimizers_of
from mtgen.errors import CacheWriteError, CorruptedFileError, SettingError

WARM_UP = 0.03
DECAY_FROM = 0.5
CHECKPOINT_S = 60
LOG_S = 20


def rate_at(share: float) -> float:
    """Learning rate as a part of its peak, when a share of the time is over."""
    if share < WARM_UP:
        return 0.02 + 0.98 * share / WARM_UP
    if share < DECAY_FROM:
        return 1.0
    left = (share - DECAY_FROM) / (1 - DECAY_FROM)
    return max(0.005, 0.5 * (1 + math.cos(math.pi * min(1.0, left))))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float, number: int) -> None:
    """Moves an average of weights and buffers on by a step.

    Args:
        average: Copy of the model.
        model: As it is after the step.
        decay: Part of the average that is kept, in the long run.
        number: Of the step, from 0; the first ones are forgotten sooner, as they are the worst.
    """
    keep = min(decay, (1 + number) / (10 + number))
    states = average.state_dict().values(), model.state_dict().values()
    for old, new in zip(*states, strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - keep)
        else:  # counters
            old.copy_(new)


def check_minutes(minutes: float) -> None:
    """Refuses a budget that is none, before anything is rendered.

    Raises:
        SettingError: minutes is not above 0.
    """
    if not 0 < minutes < math.inf:
        raise SettingError(f"minutes must be above 0, got {minutes!r}")


def train(
    model: nn.Module,
    step: Callable[[int, float], tuple[Tensor, dict[str, float]]],
    *,
    minutes: float,
    checkpoint: Path,
    resume: bool,
    lr: float,
    adam_lr: float,
    schedule: Callable[[float], float] = rate_at,
    ema: float | None = None,
) -> dict[str, str]:
    """Runs steps until the time is over.

    Args:
        model: Trained in place.
        step: Takes its number and the share of the time that is over; returns its loss and
            numbers to show.
        minutes: Of computing, over all runs that the checkpoint goes through.
        checkpoint: Written every minute and at the end.
        resume: Go on from the checkpoint, if there is one.
        lr: Peak rate of Muon.
        adam_lr: Peak rate of AdamW.
        schedule: Part of those rates, when a share of the time is over.
        ema: Where given, the model ends as its moving average, of which each step keeps so much.

    Returns:
        Metadata for the weights: steps, minutes.

    Raises:
        SettingError: minutes is not above 0.
        CorruptedFileError: the checkpoint is of another model, or damaged.
        CacheWriteError: the checkpoint cannot be written.
    """
    check_minutes(minutes)
    optimizers = optimizers_of(model, lr, adam_lr)
    average = copy.deepcopy(model) if ema else None
    number, before_s = 0, 0.0
    if resume and checkpoint.exists():
        try:
            saved = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(saved["model"])
            if average is not None:
                average.load_state_dict(saved["average"])
            for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)
        except Exception as error:
            first = " ".join(str(error).split())[:160]
            raise CorruptedFileError(
                f"{checkpoint} does not fit this model ({first}); train without --resume"
            ) from None
        number, before_s = saved["steps"], saved["seconds"]
        print(f"goes on after {before_s / 60:.1f} minutes, step {number}", file=sys.stderr)
    began = saved_at = shown_at = time.perf_counter()

    def save(seconds: float) -> None:
        partial = checkpoint.with_name(checkpoint.name + ".part")
        state = {
            "model": model.state_dict(), "steps": number, "seconds": seconds,
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }  # fmt: skip
        if average is not None:
            state["average"] = average.state_dict()
        try:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, partial)
            partial.replace(checkpoint)
        except OSError as error:
            raise CacheWriteError(f"cannot write {checkpoint}: {error.strerror}") from error

    model.train()
    smooth: dict[str, float] = {}
    while (seconds := before_s + time.perf_counter() - began) < 60 * minutes:
        share = seconds / (60 * minutes)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * schedule(share)
        loss, shown = step(number, share)
        model.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if ema and average is not None:
            follow(average, model, ema, number)
        number += 1
        for name, value in {"loss": float(loss.detach()), **shown}.items():
            smooth[name] = smooth.get(name, value) + 0.05 * (value - smooth.get(name, value))
        now = time.perf_counter()
        if now - shown_at > LOG_S:
            shown_at = now
            text = "  ".join(f"{name} {value:.3f}" for name, value in smooth.items())
            print(f"{seconds / 60:6.1f} min  step {number}  {text}", file=sys.stderr, flush=True)
        if now - saved_at > CHECKPOINT_S:
            saved_at = now
            save(before_s + now - began)
    save(seconds)
    if average is not None:
        model.load_state_dict(average.state_dict())
    model.eval()
    return {"steps": str(number), "minutes": f"{seconds / 60:.1f}"}
