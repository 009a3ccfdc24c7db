"""Data to train the neural planner on: worlds of tools, told in English and Chinese, labelled by the scheduler."""

from tomas.training.generate.codec import decode, encode, read_examples, write_examples
from tomas.training.generate.examples import Generated, Generator
from tomas.training.generate.registry import specs_of
from tomas.training.generate.split import split_of

__all__ = [
    "Generated",
    "Generator",
    "decode",
    "encode",
    "read_examples",
    "specs_of",
    "split_of",
    "write_examples",
]
