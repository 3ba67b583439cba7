"""Every legal key of a run, with its meaning. The only place where keys are born.

A config file calls `get_config()`, changes what its experiment needs and ends with
`return base.variant(config, arg)`, so that `--config=configs/x.py:quick` runs anywhere in seconds.
The tree is locked: a misspelt key or a value of another type fails at the line that writes it.
Tuples, not lists: lists cannot be overridden from the command line.
"""

from typing import Any

import ml_collections


def section(**options) -> ml_collections.ConfigDict:
  """A section whose keys are the named options of a constructor; replaces a whole section."""
  return ml_collections.ConfigDict(options)


# Scores that a published row may give, by the names of result files: those of labels, those of instances.
SCORES = (
  'mean_iu',
  'pixel_accuracy',
  'mean_accuracy',
  'frequency_weighted_iu',
  'box_ap',
  'mask_ap',
  'keypoint_ap',
)


def published(
  split: str, source: str, *, scales: str = 'one', unlike: str = '', within: float = 0.0, **scores: float
) -> dict[str, Any]:
  """A row of PUBLISHED in a config file: what others measured, for `python -m jseg.tables`.

  Args:
    split: the dataset's, as eval.split names it; 'server' for one whose masks its owners keep.
    source: where the figures stand.
    scales: one | several, at test time.
    unlike: what keeps a run of this config from being set beside these figures; '' if nothing does.
    within: how many percent points around every score count as reproduced; 0 if nobody can tell.
    scores: percent, of SCORES.
  """
  unknown = sorted(set(scores) - set(SCORES))
  if unknown or not scores or scales not in ('one', 'several'):
    raise ValueError(
      f'published({split!r}, {source!r}): {unknown or scales} is unknown or no score is given; there are: '
      f'{", ".join(SCORES)}, scales one | several'
    )
  return {
    'split': split,
    'source': source,
    'scales': scales,
    'unlike': unlike,
    'within': within,
    'scores': scores,
  }


def get_config() -> ml_collections.ConfigDict:
  """The defaults: a run that works as it stands (the same-padding U-Net on `shapes`)."""
  config = section()
  config.seed = 0  # everything random follows from it: initial weights, order, augmentation, dropout
  config.init_from = ''  # weights to start from: a workdir, a converted folder, others' file, hf:<repo>
  config.resume = 'auto'  # auto: go on where the workdir stands | must: fail if it is empty | never
  config.model = section(name='unet')  # name: a file in jseg/models; the rest: options of its Model
  config.task = section(name='semantic')  # name: a file in jseg/tasks; the rest: options of its make()
  config.augment = augment_section()
  config.data = data_section()
  config.instances = instances_section()
  config.eval = eval_section()
  config.optim = optim_section()
  config.train = train_section()
  return config.lock()


def data_section() -> ml_collections.ConfigDict:
  """Where examples come from and how they are batched."""
  return section(
    name='shapes',  # a file in jseg/data/builders
    source='',  # the folder or the archives as the owners give them; prepared on first use
    dir='',  # where prepared copies live; empty: $JSEG_DATA, else ~/.cache/jseg
    options=section(),  # options of the dataset's open_split()
    bad_sample='raise',  # faulty pairs while preparing: raise: stop at the first | skip: leave them out
    max_bad_fraction=0.01,  # skip: stop all the same when more than this share of the pairs is faulty
    train_split='train',
    subset='',  # strong:K or labelled:F: only so many of its images, see jseg/data/subsets.py; empty: all
    subset_seed=0,  # which images those are
    truth='labels',  # what training images tell: labels: their masks | tags: which classes occur, no more
    tags='',  # a JSON file {id: [class, ...]}, of images without masks; empty: tags are read off the masks
    rest_batch_size=0,  # images beside each batch, from those that subset leaves without masks; 0: none
    batch_size=8,  # global: over all devices of all processes
    crop=(),  # (height, width) of training crops in pixels; empty: whole images
    threads=4,  # reading threads in each process
    prefetch=8,  # examples (not batches) read ahead in each process
  )


def augment_section() -> ml_collections.ConfigDict:
  """What happens to training examples at random: options of jseg.data.augment.Augment; these do nothing."""
  return section(
    flip=False,  # mirror left and right, one time in two
    vflip=False,  # mirror up and down, one time in two
    scale=(1.0, 1.0),  # (least, greatest) factor on both sides
    rotate=0.0,  # greatest angle either way, degrees
    around=0.0,  # share of crops around a set of the classes drawn from those the image has; 0 is none
    rare=0.0,  # share of crops centred on a pixel of a class drawn from those the image has
    translate=0,  # greatest shift either way, whole pixels
    elastic=0.0,  # standard deviation of a 3x3 grid of displacements, pixels
    padding='mean',  # outside the image: mean (colour) | zero | mirror; labels are void there
    brightness=0.0,  # greatest relative change of the image ...
    contrast=0.0,  # ... of distances from its mean grey ...
    saturation=0.0,  # ... and from each pixel's grey
    hue=0.0,  # greatest turn of the colours either way, in full turns
    gamma=0.0,  # values to the power of (1 + gamma)^u, u in -1..1
    blur=0.0,  # greatest standard deviation of a Gaussian blur, pixels
  )


def instances_section() -> ml_collections.ConfigDict:
  """Sizes of images where instances are learned, and what is kept: options of jseg.data.buckets.Layout."""
  return section(
    short=(800, 800),  # (least, greatest) short side of training images in pixels
    test_short=800,  # short side when a checkpoint is measured or used
    longest=1333,  # of the long side
    buckets=((800, 1088), (800, 1344), (1344, 800)),  # (height, width) that images are filled up to
    most=100,  # objects kept of a training image
    empty=False,  # train on images without objects as well
  )


def eval_section() -> ml_collections.ConfigDict:
  """How a checkpoint is measured. Every key here is part of the protocol a result file records."""
  return section(
    split='val',
    every=0,  # steps between evaluations; 0: only after the last step
    batch_size=0,  # global; 0: as in training
    scales=(1.0,),  # test-time scales; class probabilities are averaged
    flip=False,  # average with the mirrored image
    window=(),  # (height, width) of sliding windows in pixels, half overlapping; empty: whole images
    samples=0,  # stochastic passes, dropout on, whose class probabilities are averaged; 0: none, dropout off
    overlays=8,  # pictures written beside each result: image, truth, prediction
  )


def optim_section() -> ml_collections.ConfigDict:
  """The optimiser. Weight decay is L2 added to the gradient, as Caffe, Torch and Lasagne do."""
  return section(
    name='sgd',  # sgd | adam | rmsprop
    lr=0.01,  # base learning rate
    schedule='constant',  # constant | poly | step | exponential | cosine: pure functions of the step
    warmup=0,  # steps of linear warm-up ...
    warmup_from=0.0,  # ... from this share of the rate
    power=0.9,  # poly
    milestones=(),  # step: after these steps ...
    gamma=0.1,  # ... the rate is multiplied by this; exponential: so it is ...
    period=1,  # ... after every so many steps
    momentum=0.9,  # sgd and rmsprop
    nesterov=False,
    beta1=0.9,  # adam
    beta2=0.999,  # adam
    rho=0.99,  # rmsprop: decay of the squared gradient
    eps=1e-8,  # adam and rmsprop
    weight_decay=0.0,
    groups=(),  # ((regular expression on the parameter path, rate factor, decay factor), ...): first match
    accumulate=1,  # micro-batches summed into one step
    ema=0.0,  # decay of the averaged weights that evaluation then uses; 0: none
  )


def train_section() -> ml_collections.ConfigDict:
  """How long, and how often something is written."""
  return section(
    steps=1000,
    log_every=20,
    save_every=200,  # steps between checkpoints; one more after every evaluation and at the end
    keep=2,  # newest checkpoints kept, beside the best
    recalibrate=0,  # batches that re-estimate BatchNorm statistics before an evaluation; 0: the running ones
  )


def variant(config: ml_collections.ConfigDict, arg: str | None) -> ml_collections.ConfigDict:
  """The run the argument after the colon names: '' is the full one, 'quick' a few steps on `shapes`.

  The quick one is of the same wiring with a quarter of the features or less.

  Raises:
    ValueError: the argument is neither.
  """
  if arg in (None, ''):
    return config.lock()
  if arg != 'quick':
    raise ValueError(f"config variant '{arg}' is unknown; there are: '' (the full run) and 'quick'")
  size = 64
  with config.unlocked():
    config.model.width = 16
    if 'window' in config.model:
      config.model.window = 2  # published ones ask for larger images
    if 'size' in config.task:
      config.task.size = 0
    if 'generator_width' in config.task:
      config.task.generator_width = 32
  config.data.name, config.data.source, config.data.train_split = 'shapes', '', 'train'
  config.data.subset = 'strong:2' if config.data.rest_batch_size else ''  # of 32 images
  config.data.tags = ''
  config.data.rest_batch_size = min(config.data.rest_batch_size, 8)
  if 'class_weights' in config.task:
    config.task.class_weights = 'none'  # a published list belongs to its dataset
  config.data.options = section(size=size, train=32, val=8)
  config.data.batch_size, config.data.crop, config.data.threads = 8, (size, size), 2
  config.eval.split, config.eval.every, config.eval.batch_size = 'val', 0, 8
  config.train.recalibrate = min(config.train.recalibrate, 1)
  config.eval.window, config.eval.samples = (), min(config.eval.samples, 2)
  config.optim.accumulate, config.optim.warmup = 1, 0
  config.train.steps, config.train.log_every, config.train.save_every = 3, 1, 2
  config.init_from = ''
  return _quick_instances(config, size) if config.task.name == 'instance' else config.lock()


def _quick_instances(config: ml_collections.ConfigDict, size: int) -> ml_collections.ConfigDict:
  """What is left to shrink where instances are learned; `shapes` have five keypoints."""
  with config.unlocked():
    config.task.update(proposals=(100, 30), test_proposals=(100, 30), box_count=16, detections=10)
    if config.model.norm == 'fixed':
      config.model.norm = 'gn'  # constants belong to weights that were learned
    if 'keypoints' in config.model:
      config.model.keypoints = 5
  config.data.crop = ()
  config.instances.short, config.instances.test_short, config.instances.longest = (size, size), size, size
  config.instances.buckets, config.instances.most = ((size, size),), 8
  return config.lock()
