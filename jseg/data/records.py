"""The records of a prepared copy: a TFDS folder of ArrayRecord files, written once and read at random."""

import io
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jseg.data import labels, spec, verify


class PreparedSource:
  """A split of a prepared copy; a Source. Its order is that in which the owners' files were found.

  Args:
    folder: the TFDS folder of one version, with features image, mask and id.
    split: a split of it, or several joined by '+'.
    table: train ids of the stored ones, as labels.remap takes it; None: the stored ones.
    objects: gives what an example holds besides, from the instances as the copy has them; None: instances are
      not read.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    split: str,
    table: np.ndarray | None = None,
    objects: Callable[[str], spec.Example] | None = None,
  ):
    skip = {'image': tfds.decode.SkipDecoding(), 'mask': tfds.decode.SkipDecoding()}
    builder = tfds.builder_from_directory(folder)
    # TFDS's logging decorator hides the signature from the checker.
    self._records = builder.as_data_source(split, decoders=skip)  # pyright: ignore[reportCallIssue]
    self._folder, self._table, self._objects = folder, table, objects

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
    # Masks lie on the pixel grid as stored, so an orientation tag must not turn the image.
    image = cv2.imdecode(
      np.frombuffer(record['image'], np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if image is None:
      raise ValueError(f'{self._folder}: the image of {name} cannot be decoded; prepare the dataset again')
    truth = labels.read_index(record['mask'], name)
    if self._table is not None:
      truth = labels.remap(truth, self._table, name)
    more = {} if self._objects is None else self._objects(_text(record['objects']))
    return {'image': image, 'labels': truth, 'id': name, 'index': index, **more}


def _text(stored: Any) -> str:
  return stored.decode() if isinstance(stored, bytes) else str(stored)


def write(dataset: spec.DatasetSpec, found: verify.Scan, partial: pathlib.Path) -> None:
  """Writes the TFDS folder <partial>/<name>/<version> of a scanned source, checking every file.

  Nothing is fetched, and nothing is written outside `partial`.

  Raises:
    ValueError: the first fault of a file, on one line.
  """
  named = {'name': dataset.name, 'VERSION': tfds.core.Version(dataset.version)}
  kind = type(dataset.name.capitalize(), (_Copy,), named, skip_registration=True)
  builder = kind(dataset, found, data_dir=str(partial), file_format='array_record')
  options = tfds.download.DownloadConfig(try_download_gcs=False)
  tfds.disable_progress_bar()
  builder.download_and_prepare(download_dir=str(partial / 'downloads'), download_config=options)


class _Copy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """The TFDS builder: image bytes as they are, masks as 8-bit grey PNG of train ids with void 255.

  Where masks are drawn from instances, these are kept too, as text under `objects`.
  """

  VERSION = tfds.core.Version('0.0.0')  # that of the dataset in `write`
  # Nothing is downloaded. Looking for a list of checksums needs a package that TFDS does not require.
  url_infos = None

  def __init__(self, dataset: spec.DatasetSpec, found: verify.Scan, **options: Any):
    self._dataset, self._found = dataset, found
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
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    return {part: self._generate_examples(part) for part in self._found.pairs}

  def _generate_examples(self, part: str) -> Iterator[tuple[int, dict[str, Any]]]:
    table = labels.spec_table(self._dataset)
    pairs = self._found.pairs[part]
    for number, pair in enumerate(verify.progress(pairs, f'{self._dataset.name} {part}: prepared')):
      frame, mask, objects = verify.read_pair(pair, table)
      image = str(pair.image) if frame is None else encode(frame)
      kept = {'objects': objects} if self._has_objects() else {}
      yield number, {'image': image, 'mask': encode(mask), 'id': pair.id, **kept}

  def _has_objects(self) -> bool:
    return any(pair.draw for pairs in self._found.pairs.values() for pair in pairs[:1])


def encode(pixels: np.ndarray) -> io.BytesIO:
  """uint8 [h w] or [h w 3] as a PNG file in memory: given an array, TFDS would encode it with TensorFlow."""
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, format='PNG')
  file.seek(0)
  return file
