"""Long work says on stderr every few seconds how much of it is done and how long the rest will take."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar('T')

EVERY = 2.0  # seconds from one line to the next


class Progress:
  """Of one piece of work.

  Args:
    label: begins the lines.
    total: of all there is to do, in any unit.
    show: writes an amount of it for people.
    every: seconds from one line to the next.
  """

  def __init__(self, label: str, total: int, show: Callable[[int], str] = str, every: float = EVERY):
    self._label, self._total, self._show, self._every = label, total, show, every
    self._began = self._said = time.monotonic()

  def reach(self, done: int) -> None:
    """So much of the total is done now."""
    now = time.monotonic()
    if now - self._said >= self._every:
      left = (now - self._began) / done * (self._total - done) if done else 0.0
      amount = f'{self._show(done)} of {self._show(self._total)}'
      print(f'{self._label} {amount}, about {left:.0f} s left', file=sys.stderr, flush=True)
      self._said = now


def over(items: Sequence[T], label: str, every: float = EVERY) -> Iterable[T]:
  """Yields the items, and says how many are done."""
  progress = Progress(label, len(items), every=every)
  for done, item in enumerate(items):
    progress.reach(done)
    yield item


def readable_size(count: int) -> str:
  """A number of bytes for people: '3.2 GB'."""
  for unit, power in (('GB', 1e9), ('MB', 1e6), ('kB', 1e3)):
    if count >= power:
      return f'{count / power:.1f} {unit}'
  return f'{count} bytes'
