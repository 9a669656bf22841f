"""How varied texts are, and how repetitive: numbers of texts alone.

Characters are the unit, as a Chinese reader sees them.
"""

import collections


def ngrams(text, n):
  """All character n-grams of a text, in order."""
  return [text[i : i + n] for i in range(len(text) - n + 1)]


def distinct_n(texts, n=2):
  """Unique ÷ all character n-grams of the texts taken together (Li et al. 2016); 0 without any."""
  grams = [gram for text in texts for gram in ngrams(text, n)]
  return len(set(grams)) / len(grams) if grams else 0.0


def repetition(texts, n=4, times=3):
  """Share of the texts in which some character n-gram occurs `times` times or more."""
  looping = [max(collections.Counter(ngrams(text, n)).values(), default=0) >= times for text in texts]
  return sum(looping) / len(looping) if looping else 0.0
