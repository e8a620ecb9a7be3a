"""Texts, such as the missions of MiniGrid, as counts of hashed words."""

import re
import zlib
from functools import lru_cache

import numpy as np

TEXT_SIZE = 256  # bins


@lru_cache(maxsize=4096)
def hashed_words(text: str) -> np.ndarray:
    """How often the words of each bin occur in a text, (TEXT_SIZE,).

    A word's bin is its CRC-32 modulo the number of bins, so that no vocabulary must be known in advance, and processes
    agree. The order of words is lost.

    Args:
        text: words in any language, and signs.

    Source: the hashing trick, Weinberger et al. 2009 (arXiv:0902.2206).
    """
    bins = [zlib.crc32(word.encode()) % TEXT_SIZE for word in re.findall(r"\w+|[^\w\s]", text.lower())]
    counts = np.bincount(bins, minlength=TEXT_SIZE).astype(np.float32)
    counts.setflags(write=False)  # shared by all calls
    return counts
