"""The records of a prepared copy: a TFDS folder of ArrayRecord files, written once and read at random."""

import functools
import io
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jseg.data import counts, extents, images, labels, progress, spec, verify


class PreparedSource:
  """A split of a prepared copy; a Source. Its order is that in which the owners' files were found.

  Args:
    folder: the TFDS folder of one version, with features image, mask and id.
    split: a split of it, or several joined by '+'.
    num_classes: of the stored train ids.
    table: train ids of the stored ones, as labels.remap takes it; None: the stored ones.
    objects: gives what an example holds besides, from the instances as the copy has them; None: instances are
      not read.

  Raises:
    ValueError: instances are asked for, and the copy keeps none.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    split: str,
    num_classes: int,
    table: np.ndarray | None = None,
    objects: Callable[[str], spec.Example] | None = None,
  ):
    self._builder = tfds.builder_from_directory(folder)
    features: Any = self._builder.info.features
    if objects is not None and 'objects' not in features:
      raise ValueError(f'{folder} keeps no instances; prepare the dataset again, from a source that has them')
    self._records = self._open(split)
    self._folder, self._split, self._num_classes = folder, split, num_classes
    self._table, self._objects = table, objects

  def _open(self, split: str) -> Any:
    skip = {'image': tfds.decode.SkipDecoding(), 'mask': tfds.decode.SkipDecoding()}
    # TFDS's logging decorator hides the signature from the checker.
    return self._builder.as_data_source(split, decoders=skip)  # pyright: ignore[reportCallIssue]

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._records)

  def __getitem__(self, index: int) -> spec.Example:
    """Reads and decodes one example.

    Raises:
      ValueError: the record cannot be decoded.
    """
    record = self._records[index]
    name = _text(record['id'])
    image = images.decode(record['image'])
    if image is None:
      raise ValueError(f'{self._folder}: the image of {name} cannot be decoded; prepare the dataset again')
    truth = labels.read_index(record['mask'], name)
    if truth.shape != image.shape[:2]:
      raise ValueError(f'{self._folder}: {name} differs in size from its mask; prepare the dataset again')
    if self._table is not None:
      truth = labels.remap(truth, self._table, name)
    more = {} if self._objects is None else self._objects(_text(record['objects']))
    return {'image': image, 'labels': truth, 'id': name, 'index': index, **more}

  @functools.cached_property
  def counts(self) -> np.ndarray:
    """Pixels of each train id in every image, int64 [n k+1], void last.

    Raises:
      ValueError: what the copy keeps of them is damaged.
    """
    parts = [self._counts(part) for part in self._split.split('+')]
    stored = np.concatenate(parts)
    return stored if self._table is None else counts.remapped(stored, self._table)

  @functools.cached_property
  def extents(self) -> np.ndarray:
    """Sizes and numbers of objects, int64 [n 4], see jseg.data.extents.

    Raises:
      ValueError: the copy keeps no instances, or what it keeps of this is damaged.
    """
    return np.concatenate([self._extents(part) for part in self._split.split('+')])

  def _extents(self, part: str) -> np.ndarray:
    opened = self._open(part)

    def count() -> np.ndarray:
      rows = progress.over(opened, f'{self._folder} {part}: sizes read')
      return np.array([extents.of_text(_text(row['objects'])) for row in rows])

    columns = extents.COLUMNS - 1
    size = len(opened)
    return counts.kept(self._folder, part, size=size, num_classes=columns, count=count, name='extents')

  def _counts(self, part: str) -> np.ndarray:
    opened = self._open(part)

    def count() -> np.ndarray:
      rows = progress.over(opened, f'{self._folder} {part}: counted')
      return np.stack(
        [counts.of_labels(labels.read_index(row['mask']), self._num_classes, part) for row in rows]
      )

    return counts.kept(self._folder, part, size=len(opened), num_classes=self._num_classes, count=count)


def write(
  dataset: spec.DatasetSpec, found: verify.Scan, partial: pathlib.Path, fault: Callable[[str], None]
) -> None:
  """Writes the TFDS folder <partial>/<name>/<version> of a scanned source, checking every file.

  Nothing is fetched, and nothing is written outside `partial`. Each faulty pair is left out, once `fault` was
  called with what is wrong with it, on one line; as verify.Faults.add it may raise ValueError.

  Raises:
    ValueError: what `fault` raises; a part of which no pair is sound.
  """
  named = {'name': dataset.name, 'VERSION': tfds.core.Version(dataset.version)}
  kind = type(dataset.name.capitalize(), (_Copy,), named, skip_registration=True)
  builder = kind(dataset, found, fault, data_dir=str(partial), file_format='array_record')
  options = tfds.download.DownloadConfig(try_download_gcs=False)
  tfds.disable_progress_bar()
  builder.download_and_prepare(download_dir=str(partial / 'downloads'), download_config=options)
  for part, rows in builder.counts.items():
    counts.keep(pathlib.Path(builder.data_dir), part, np.stack(rows))
  for part, rows in builder.extents.items():
    counts.keep(pathlib.Path(builder.data_dir), part, np.array(rows), 'extents')


class _Info(tfds.core.DatasetInfo):
  """What is known of a copy, told by its own files alone."""

  def initialize_from_bucket(self) -> None:
    """Asks nobody: TFDS would look for numbers of its own, and leave an empty folder in the temporary one."""


class _Copy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The TFDS builder: image bytes as they are, masks as 8-bit grey PNG of train ids with void 255.

  Where masks are drawn from instances, these are kept too, as text under `objects`.
  """

  VERSION = tfds.core.Version('0.0.0')  # that of the dataset in `write`
  # Nothing is downloaded. Looking for a list of checksums needs a package that TFDS does not require.
  url_infos = None

  def __init__(
    self, dataset: spec.DatasetSpec, found: verify.Scan, fault: Callable[[str], None], **options: Any
  ):
    self._dataset, self._found, self._fault = dataset, found, fault
    self.counts: dict[str, list[np.ndarray]] = {}  # of each part, row by row as its examples are written
    self.extents: dict[str, list[tuple[int, ...]]] = {}
    super().__init__(**options)

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      'image': tfds.features.Image(shape=(None, None, 3)),
      'mask': tfds.features.Image(shape=(None, None, 1), encoding_format='png'),
      'id': tfds.features.Text(),
    }
    if self._has_objects():
      features['objects'] = tfds.features.Text()
    # Kept in the order of the scan, so that index i means the same image in every copy.
    return _Info(builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True)

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    return {part: self._generate_examples(part) for part in self._found.pairs}

  def _generate_examples(self, part: str) -> Iterator[tuple[int, dict[str, Any]]]:
    table = labels.spec_table(self._dataset)
    label = f'{self._dataset.name} {part}: prepared'
    rows = self.counts[part] = []
    for number, (pair, found) in enumerate(verify.opened(self._found.pairs[part], table, label)):
      if isinstance(found, ValueError):
        self._fault(str(found))
        continue
      rows.append(counts.of_labels(found.ids, self._dataset.num_classes, pair.id))
      image = str(pair.image) if found.pixels is None else encode(found.pixels)
      kept = {}
      if self._has_objects():
        kept = {'objects': found.objects}
        self.extents.setdefault(part, []).append(extents.of_text(found.objects))
      yield number, {'image': image, 'mask': encode(found.ids), 'id': pair.id, **kept}
    if not rows:
      raise ValueError(f'{self._dataset.name}: no pair of {part} is sound')

  def _has_objects(self) -> bool:
    return any(pair.draw for pairs in self._found.pairs.values() for pair in pairs[:1])


def _text(stored: Any) -> str:
  return stored.decode() if isinstance(stored, bytes) else str(stored)


def encode(pixels: np.ndarray) -> io.BytesIO:
  """uint8 [h w] or [h w 3] as a PNG file in memory: given an array, TFDS would encode it with TensorFlow."""
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, format='PNG')
  file.seek(0)
  return file
