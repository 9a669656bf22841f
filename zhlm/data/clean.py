"""Text in, the same text made plain, or the reason why it is not worth reading; nothing else.

Chinese punctuation stays as it is: `，！？：；（）` are no “full-width ASCII” to be folded.
"""

import re
import unicodedata
from collections import Counter

_CJK_PUNCTUATION = '，！？：；（）～'
_FOLD = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code) not in _CJK_PUNCTUATION}
_FOLD[0x3000] = ord(' ')
_INVISIBLE = re.compile(
  '[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe0f\ufeff\ud800-\udfff]'
)
_HAN = re.compile('[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]')
_N = 13  # characters of the n-gram whose repetition marks boilerplate (ChineseWebText)


def normalise(text):
  """NFC; full-width letters and digits halved; invisible characters out; runs of space made one."""
  text = unicodedata.normalize('NFC', text).translate(_FOLD)
  text = _INVISIBLE.sub('', re.sub('\r\n?', '\n', text))
  text = re.sub('[^\\S\n]+', ' ', text)
  return re.sub('\n{3,}', '\n\n', re.sub(' ?\n ?', '\n', text)).strip()


def normalise_all(value):
  """`normalise` on every string inside lists and dicts (keys are left alone)."""
  if isinstance(value, str):
    return normalise(value)
  if isinstance(value, list):
    return [normalise_all(v) for v in value]
  if isinstance(value, dict):
    return {k: normalise_all(v) for k, v in value.items()}
  return value


def han_share(text):
  """Chinese characters over all characters that are not space, 0 for no text."""
  letters = sum(map(len, text.split()))
  return len(_HAN.findall(text)) / letters if letters else 0.0


def repeated_share(text):
  """The share of 13-character windows that occurred earlier in the same text."""
  windows = [text[i : i + _N] for i in range(len(text) - _N + 1)]
  return 1 - len(set(windows)) / len(windows) if windows else 0.0


def reject(text, rules):
  """The name of the first rule that `text` breaks, or None when it may stay."""
  if len(text) < rules.min_characters:
    return 'too_short'
  if len(text) > rules.max_characters:
    return 'too_long'
  if '\ufffd' in text or '锟斤拷' in text:
    return 'mojibake'
  if han_share(text) < rules.min_han:
    return 'few_han'
  if repeated_share(text) > rules.max_repeated:
    return 'repeated'
  if len(set(text)) / min(len(text), 200) < rules.min_distinct:
    return 'few_distinct'
  if any(word in text for word in rules.blocked.split()):
    return 'blocked_word'
  return None


def clean(items, rules_of, samples=3):
  """Items that stay, and a report {source: {'in', 'kept', 'dropped': {reason: {count, samples}}}}.

  Items are dicts with `text` and `source`; `rules_of(item)` gives the thresholds for its kind.
  """
  kept, report = [], {}
  for item in items:
    fixed = {'id': item['id'], 'source': item['source']}
    item = {**normalise_all({k: v for k, v in item.items() if k not in fixed}), **fixed}
    entry = report.setdefault(item['source'], {'in': 0, 'kept': 0, 'dropped': {}})
    entry['in'] += 1
    reason = reject(item['text'], rules_of(item))
    if reason is None:
      entry['kept'] += 1
      kept.append(item)
    else:
      note(entry, reason, item['text'], samples)
  return kept, report


def note(entry, reason, text, samples=3):
  """Counts one drop under its reason, and keeps the first few texts to look at."""
  dropped = entry['dropped'].setdefault(reason, {'count': 0, 'samples': []})
  dropped['count'] += 1
  if len(dropped['samples']) < samples:
    dropped['samples'].append(text[:60].replace('\n', ' '))


def histogram(numbers):
  """Counts of numbers, small to large, as {str: int} for JSON."""
  return {str(k): v for k, v in sorted(Counter(numbers).items())}
