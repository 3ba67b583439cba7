"""A training split in two, for learning from few masks: some images keep theirs, the rest lose them.

A request is a word and an amount, as the config's data.subset takes it:

  strong:10      for every foreground class ten images that contain it, of its own: no image serves two
                 classes, so 20 classes have 200. As DecoupledNet is trained with 5, 10 or 25 of them (Hong,
                 Noh, Han 2015, arXiv:1506.04924, section 5.1: "x 20 classes"); which images it took is in
                 lists of its repository, not in the paper, and not reproduced here. Of the rest it is known
                 which classes occur.
  labelled:1/8   one image in eight, whatever it contains, rounded up: 1,323 of VOC's 10,582 and 372 of
                 Cityscapes' 2,975, as such splits are usually cut. For the adversarial training of Souly et
                 al. 2017 (ICCV), whose images are listed nowhere. Of the rest nothing is known.

One seed orders the images once, by numpy's PCG64, whose raw stream no version or platform changes. So a
request names the same images everywhere, and a larger strong or labelled part contains a smaller one.
"""

import fractions
import functools
import re
from collections.abc import Sequence

import numpy as np

from jseg.data import counts, spec
from jseg.typing import IGNORE_LABEL

TRUTHS = ('labels', 'tags')  # what data.truth lets the training images tell


class Subset:
  """Some examples of a source, by their indices in it; a Source.

  Args:
    source: of the whole split.
    indices: int64 [m]; example i is the source's example indices[i], with index i.
    num_classes: of its labels.
    truth: what an example tells of its image: 'labels': all that the source tells; 'tags': labels are void
      and tags bool [k] are the classes that occur; 'nothing': labels are void.
  """

  def __init__(self, source: spec.Source, indices: np.ndarray, *, num_classes: int, truth: str = 'labels'):
    self.indices, self.truth = indices, truth
    self._source, self._num_classes = source, num_classes

  def __len__(self) -> int:
    """The number of examples."""
    return len(self.indices)

  def __getitem__(self, index: int) -> spec.Example:
    """Reads one example and takes from it what is not to be known.

    Raises:
      ValueError: it cannot be read.
    """
    if not 0 <= index < len(self.indices):
      raise IndexError(f'example {index} of {len(self.indices)}')
    example = self._source[int(self.indices[index])]
    if self.truth == 'labels':
      return {**example, 'index': index}
    known = {
      'image': example['image'],
      'labels': np.full_like(example['labels'], IGNORE_LABEL),
      'id': example['id'],
      'index': index,
    }
    return known | ({'tags': tags(self.counts[index])} if self.truth == 'tags' else {})

  @functools.cached_property
  def counts(self) -> np.ndarray:
    """Pixels of each train id in every image, int64 [m k+1], void last: those that the source knows."""
    return counts.of(self._source, self._num_classes)[self.indices]


def divide(source: spec.Source, dataset: spec.DatasetSpec, request: str, seed: int) -> tuple[Subset, Subset]:
  """The images of a split that keep their masks, and the rest of it; both in the order of the split.

  Args:
    source: the whole split.
    dataset: its specification; every class but one called 'background' is foreground.
    request: as above.
    seed: of the order in which images are taken, at least 0.

  Returns:
    The two; the second tells 'tags' if the request is of strong images, else 'nothing', and may be empty.

  Raises:
    ValueError: the request is not of this form, or the split cannot give it.
  """
  words = re.fullmatch(r'strong:([0-9]+)|labelled:([0-9]+/[0-9]+|[0-9]*\.[0-9]+)', request)
  if not words:
    raise ValueError(
      f"data.subset '{request}' is unknown; there are: strong:K (K masks a class) and labelled:F (a share of "
      'the images, as 1/8 or 0.125)'
    )
  classes = dataset.num_classes
  try:
    if words[1]:
      chosen = strong(counts.of(source, classes), int(words[1]), seed, dataset.classes)
    else:
      chosen = labelled(len(source), words[2], seed)
  except ValueError as error:
    raise ValueError(f"{dataset.name}, data.subset '{request}': {error}") from error
  rest = np.setdiff1d(np.arange(len(source)), chosen)
  return (
    Subset(source, chosen, num_classes=classes),
    Subset(source, rest, num_classes=classes, truth='tags' if words[1] else 'nothing'),
  )


def tags(row: np.ndarray) -> np.ndarray:
  """The classes that occur, background too, bool [... k], by a row or table of counts [... k+1]."""
  return row[..., :-1] > 0


def labelled(size: int, share: str, seed: int) -> np.ndarray:
  """A share of 0..size - 1 at random, rounded up, int64, sorted.

  Args:
    size: of the split.
    share: as '1/8' or '0.125', above 0 and below 1.
    seed: at least 0.

  Raises:
    ValueError: the share or the seed is out of range.
  """
  try:
    exact = fractions.Fraction(share)
  except ZeroDivisionError:
    exact = fractions.Fraction(0)
  if not 0 < exact < 1:
    raise ValueError(f'a share of {share} is out of range; it must be above 0 and below 1')
  return np.sort(_order(size, seed)[: -(-size * exact.numerator // exact.denominator)])


def strong(table: np.ndarray, masks: int, seed: int, classes: Sequence[str]) -> np.ndarray:
  """For every foreground class as many images that contain it, no image for two classes; int64, sorted.

  Classes take turns, and each takes the next image in the seed's order. Where only images of others are
  left, one that another can replace is handed over, so that what is possible is found. An image once taken
  stays taken: a larger number of masks adds to a smaller one.

  Args:
    table: of the split, [n k+1].
    masks: images of each class.
    seed: at least 0.
    classes: names by train id; 'background' needs no images.

  Raises:
    ValueError: a number is out of range, or classes occur in too few images.
  """
  if masks < 1:
    raise ValueError(f'{masks} masks a class are too few; 1 is the least')
  order = _order(len(table), seed)
  contains = tags(table)[order]
  foreground = [c for c, name in enumerate(classes) if name != 'background']
  owner = np.full(len(order), -1)  # the class that took an image
  for _ in range(masks):
    for c in foreground:
      crowded = _take(c, contains, owner)
      if crowded:
        within = int(contains[:, crowded].any(axis=1).sum())
        names = ', '.join(classes[i] for i in sorted(crowded))
        raise ValueError(
          f'{masks} masks a class are too many: {names} {"occurs" if len(crowded) == 1 else "occur"} in '
          f'{within} images, and none serves two classes; at most {within // len(crowded)} are possible'
        )
  return np.sort(order[owner >= 0])


def _take(wanting: int, contains: np.ndarray, owner: np.ndarray) -> list[int]:
  """Gives a class one more image, in place; if there is no way, the classes that share too few.

  By the shortest chain of hand-overs (an augmenting path of a bipartite matching): its last class takes a
  free image, each before it takes the one that its successor gives up.
  """
  gives: dict[int, tuple[int, int]] = {}  # class -> (who gets its image, which image)
  queue = [wanting]
  for c in queue:
    free = np.flatnonzero(contains[:, c] & (owner < 0))
    if len(free):
      image = int(free[0])
      while c != wanting:
        owner[image] = c
        c, image = gives[c]
      owner[image] = wanting
      return []
    for image in np.flatnonzero(contains[:, c]):
      other = int(owner[image])
      if other not in queue:
        queue.append(other)
        gives[other] = c, int(image)
  return queue


def _order(size: int, seed: int) -> np.ndarray:
  """A random order of 0..size - 1, int64."""
  if seed < 0:
    raise ValueError(f'data.subset_seed is {seed}; it must be at least 0')
  return np.argsort(np.random.PCG64(seed).random_raw(size), kind='stable')
