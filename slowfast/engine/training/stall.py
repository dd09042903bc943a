"""The detection of a training whose loss does not move, and the measurements that tell why.

A model that gives all clips the scores of the class frequencies has a loss near its first value for any
number of steps. The hint has the measured size of gradients and, for a model with
:class:`slowfast.models.capabilities.DescribesStates`, what its states look like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from slowfast.datasets.clip import Batch
from slowfast.engine.training.train_step import StepResult

# Fraction of the first loss by which the loss must have fallen.
_LEAST_CHANGE = 0.05
# Fraction of the way from the accuracy of the largest class to 1 above which a model has learned something.
_LEARNED = 0.1


@dataclass
class _Window:
    """Metrics of several steps."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    correct: int = 0
    clips: int = 0
    by_index: bool = True

    def add(self, result: StepResult) -> None:
        self.losses.append(result.loss)
        self.norms.append(result.grad_norm)
        self.clips += result.clips
        self.by_index &= result.correct is not None
        self.correct += result.correct.top1 if result.correct is not None else 0


@dataclass
class StallDetector:
    """Compares the loss of the last steps with that of the first steps of a training.

    The loss has not moved if its mean over the last N / 2 steps is not below that over the first N / 2 by two
    standard errors and 5 %, and the accuracy is less than a tenth of the way from the fraction of the largest
    class to 1. It is checked every N steps until it has moved once.

    Attributes:
        steps: N; 0: never checked.
        first_check: steps of the warm-up, before which nothing is checked.
        chance: fraction of the largest class in the training list; 1 where the accuracy is unknown.
        starts_new: False for a run that is resumed, whose first steps are not those of the training.
        describe: returns measurements of the model on a batch.
        advice: end of the hint.
    """

    steps: int
    first_check: int = 0
    chance: float = 1.0
    starts_new: bool = True
    describe: Callable[[Batch], Sequence[str]] = lambda batch: ()
    advice: str = ""
    _is_over: bool = False
    _done: int = 0
    _first: _Window = field(default_factory=_Window)
    _last: _Window = field(default_factory=_Window)

    @property
    def _half(self) -> int:
        return max(self.steps // 2, 1)

    def observe(self, result: StepResult, batch: Batch, lr: float) -> str:
        """Adds a step; returns a hint, once per run, if the loss has not moved, else an empty text."""
        if self._is_over or self.steps == 0 or not (self.starts_new and result.updated):
            return ""
        self._done += 1
        if self._done <= self._half:
            self._first.add(result)
        if (self._done - 1) % self.steps >= self.steps - self._half:
            self._last.add(result)
        if self._done % self.steps:
            return ""
        last, self._last = self._last, _Window()
        if self._has_moved(last):
            self._is_over = True
            return ""
        if self._done < self.first_check + self.steps:
            return ""
        self._is_over = True
        return self._hint(last, batch, lr)

    def _has_moved(self, last: _Window) -> bool:
        if last.by_index:
            learned = (last.correct / last.clips - self.chance) / max(1 - self.chance, 1e-9)
            if learned > _LEARNED:
                return True
        first_losses, last_losses = np.array(self._first.losses), np.array(last.losses)
        fall = first_losses.mean() - last_losses.mean()
        error = np.sqrt(first_losses.var() / len(first_losses) + last_losses.var() / len(last_losses))
        return bool(fall > max(2 * error, _LEAST_CHANGE * abs(first_losses.mean())))

    def _hint(self, last: _Window, batch: Batch, lr: float) -> str:
        facts = [
            f"mean {np.mean(self._first.losses):.4f} over the first {self._half}, "
            f"{np.mean(last.losses):.4f} over the last {self._half}",
        ]
        if last.by_index:
            accuracy = f"accuracy {100 * last.correct / last.clips:.1f} %"
            facts.append(f"{accuracy}, the largest class has {100 * self.chance:.1f} %")
        facts.append(f"learning rate {lr:.3g}")
        facts.append(f"gradient norm {np.mean(last.norms):.3g} (± {np.std(last.norms):.2g})")
        facts += self.describe(batch)
        return f"loss has not moved in {self._done} steps: {'; '.join(facts)}. {self.advice}".rstrip()
