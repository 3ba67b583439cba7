"""`shapes`: drawn on the fly by jseg.data.shapes, from no files. For tests, demonstrations, quick runs."""

from jseg.data import shapes, spec

SPEC = spec.DatasetSpec(
  name='shapes',
  protocol='shapes7',
  classes=('background', *shapes.SHAPES),
  palette=((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)),
  raw_void=(),
  split_sizes={'train': 2000, 'val': 200, 'test': 200},
  class_pixels=(12_946_570, 866_852, 773_130, 525_400, 646_216, 710_291, 456_673),
  class_image_pixels=(18_432_000, 8_294_400, 8_322_048, 8_773_632, 7_971_840, 8_782_848, 9_446_400),
  void_pixels=1_506_868,
  source='counted at the default size and seed: python -m jseg.dataset --verb=stats --name=shapes',
)


def open_split(
  split: str,
  *,
  source: str = '',
  directory: str = '',
  size: int = 96,
  train: int = 2000,
  val: int = 200,
  test: int = 200,
  seed: int = 0,
) -> shapes.Shapes:
  """A split of drawn images; see jseg.data.shapes.Shapes for what an example holds.

  Args:
    split: 'train', 'val' or 'test'.
    source: must be empty: there are no files.
    directory: ignored: nothing is prepared.
    size: side of the square images in pixels.
    train: images in 'train'.
    val: images in 'val'.
    test: images in 'test'.
    seed: other seeds draw other sets.

  Raises:
    ValueError: a source is given, the split is unknown, or a number is out of range.
  """
  del directory
  if source:
    raise ValueError(f"shapes is drawn and reads no files, but the source is '{source}'; leave it empty")
  counts = {'train': train, 'val': val, 'test': test}
  if split not in counts:
    raise ValueError(f"split '{split}' is unknown for shapes; there are: {', '.join(counts)}")
  return shapes.Shapes(split, size=size, count=counts[split], seed=seed)
