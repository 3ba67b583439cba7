"""jseg: the classic networks of semantic segmentation in JAX, number for number."""

__version__ = '0.1.0'
