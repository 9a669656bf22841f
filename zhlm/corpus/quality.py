"""How well the rules agree with a careful reader: precision and recall on documents labelled by hand.

A labelled document is {'id', 'preset', 'text', 'class', 'keep', 'why', 'of'?}: whether it belongs in a
corpus, the reasons why not, and the document that it copies. Positive is what should be dropped.
"""

import collections
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zhlm.clean import document, labels, lists, rules
from zhlm.corpus import dedup, hashing
from zhlm.errors import InputError

FIELDS = ('id', 'class', 'preset', 'keep', 'why', 'text')
LABEL = 0.3  # the share of a text from which a label of zhlm/lists counts as said of it here


class Verdict(NamedTuple):
  """A labelled document and what the chain makes of it."""

  doc: dict
  text: str  # after cleaning
  broken: dict  # {rule: value} of every rule that it breaks
  dropped: str  # the rule that drops it, 'near_duplicate' …, or '' when it stays
  keep: bool  # the reader's wish; of two copies that of the one which stayed
  labels: dict  # {label: share of the text}, of the shipped lists


def read(folder):
  """The labelled documents of a folder's .jsonl files. Raises InputError with file and line."""
  out = []
  for path in sorted(Path(folder).glob('*.jsonl')):
    for number, line in enumerate(path.read_text('utf-8').split('\n'), 1):
      if not line:
        continue
      try:
        doc = json.loads(line)
      except ValueError as error:
        raise InputError(f'{path}:{number}: not JSON ({error})') from None
      if missing := [name for name in FIELDS if name not in doc]:
        raise InputError(f'{path}:{number}: without {", ".join(missing)}; a labelled document has {FIELDS}')
      out.append(doc)
  if not out:
    raise InputError(f'{folder}: no labelled documents (*.jsonl)')
  return out


def half(doc):
  """'tune' or 'report', by the hash of the id (a copy goes with its original).

  Bounds are chosen by what they do to the first half; the second says what they are worth.
  """
  name = doc.get('of', doc['id'])
  return ('tune', 'report')[hashlib.sha256(name.encode()).digest()[0] % 2]


def verdicts(labelled, presets, settings):
  """[Verdict]: the documents cleaned by their presets, judged by labels, and of copies one left out.

  settings: dict with the fields of `config.labels`.
  """
  cleaned = []
  for doc in labelled:
    if doc['preset'] not in presets:
      raise InputError(
        f'{doc["id"]}: no preset {doc["preset"]}; the presets are {", ".join(sorted(presets))}'
      )
    item = {'kind': 'document', 'source': 'labelled'} | {k: doc[k] for k in ('id', 'preset', 'text')}
    cleaned.append(document.clean(item, presets[doc['preset']]))
  # All are judged, so that a label's worth is known of what a rule drops, too.
  told = labels.judged([(item, None) for item, _ in cleaned], settings)
  judged = [dict([found] if found else []) for _, found in told]
  dropped = {
    item['id']: found[0] if found else next(iter(told), '')
    for (item, found), told in zip(cleaned, judged, strict=True)
  }
  dropped |= _copies([item for item, _ in cleaned if not dropped[item['id']]])
  keep = _wishes(labelled, dropped)
  said = lists.labels([item['text'] for item, _ in cleaned], settings['lists'] or lists.SHIPPED)
  return [
    Verdict(
      doc,
      item['text'],
      rules.all_broken(item['text'], presets[doc['preset']]) | told,
      dropped[doc['id']],
      keep[doc['id']],
      shares,
    )
    for doc, (item, _), told, shares in zip(labelled, cleaned, judged, said, strict=True)
  ]


def _copies(items):
  """{id: reason} of the items that deduplication drops."""
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'sketch.npy')
    np.save(path, dedup.sketch(items))
    result = dedup.resolve([path])
  found = dedup.find(result, np.array([hashing.key(item['id']) for item in items], np.uint64))
  reasons = (dedup.REASONS[code] for code in found['reason'].tolist())
  return {
    item['id']: reason for item, reason in zip(items, reasons, strict=True) if reason != dedup.REASONS[0]
  }


def _wishes(labelled, dropped):
  """{id: keep}. Of a text and its copy either may stay: the one that deduplication took is the copy."""
  keep = {doc['id']: doc['keep'] for doc in labelled}
  for doc in labelled:
    if 'of' in doc and dropped[doc['of']] in dedup.REASONS and not dropped[doc['id']]:
      keep[doc['id']], keep[doc['of']] = True, False
  return keep


def measure(found):
  """What verdicts amount to, as tables of dicts: `whole`, `classes`, `rules`, `reasons`, `labels`."""
  bad = [v for v in found if not v.keep]
  return {
    'whole': _scores([v for v in found if v.dropped], bad),
    'classes': _classes(found),
    'rules': _rules(found, bad),
    'reasons': _reasons(found),
    'labels': _labels(found, bad),
  }


def _scores(called, bad):
  """{'fires', 'bad', 'precision', 'recall'} of calling documents bad."""
  hits = sum(not v.keep for v in called)
  return {
    'fires': len(called),
    'bad': hits,
    'precision': hits / max(len(called), 1),
    'recall': hits / max(len(bad), 1),
  }


def _classes(found):
  """{class: {'good', 'good_kept', 'bad', 'bad_dropped'}}."""
  out = {}
  for v in found:
    row = out.setdefault(v.doc['class'], dict.fromkeys(('good', 'good_kept', 'bad', 'bad_dropped'), 0))
    row['good' if v.keep else 'bad'] += 1
    row['good_kept'] += v.keep and not v.dropped
    row['bad_dropped'] += not v.keep and bool(v.dropped)
  return out


def _rules(found, bad):
  """{rule: scores, and `only_good`, `only_bad`: documents that break no other rule}, the busiest first."""
  called = collections.defaultdict(list)
  for v in found:
    for rule in v.broken:
      called[rule].append(v)
    if v.dropped in dedup.REASONS:
      called['duplicate'].append(v)
  out = {}
  for rule, some in sorted(called.items(), key=lambda pair: (-len(pair[1]), pair[0])):
    alone = [v.keep for v in some if len(v.broken) == (rule != 'duplicate')]
    out[rule] = _scores(some, bad) | {'only_good': sum(alone), 'only_bad': len(alone) - sum(alone)}
  return out


def _reasons(found):
  """{the reader's reason: {'documents', 'dropped', 'recall', 'by': the rules that drop most of them}}."""
  out = {}
  for reason in sorted({why for v in found for why in v.doc['why']}):
    # A good document that should go is the one that deduplication took for the copy.
    some = [v for v in found if not v.keep and reason in (v.doc['why'] or ['duplicate'])]
    by = collections.Counter(v.dropped for v in some if v.dropped)
    row = {'documents': len(some), 'dropped': by.total(), 'recall': by.total() / max(len(some), 1)}
    out[reason] = row | {'by': dict(by.most_common(3))}
  return out


def _labels(found, bad):
  """{label of the lists: scores of taking the texts that it says `LABEL` or more of for bad}."""
  names = sorted({label for v in found for label in v.labels})
  return {name: _scores([v for v in found if v.labels[name] >= LABEL], bad) for name in names}


def markdown(measured, rules=True):
  """The measurements as Markdown tables; those of rules and labels only if wanted."""
  whole = measured['whole']
  out = [
    f'Dropped {whole["fires"]}, of which {whole["bad"]} should be: **precision {whole["precision"]:.3f}, '
    f'recall {whole["recall"]:.3f}**.',
    '',
    '| class | good kept | bad dropped |',
    '|---|---|---|',
  ]
  for name, row in measured['classes'].items():
    good = f'{row["good_kept"]} of {row["good"]}' if row['good'] else '–'
    gone = f'{row["bad_dropped"]} of {row["bad"]}' if row['bad'] else '–'
    out.append(f'| {name} | {good} | {gone} |')
  out += ['', '| reason to drop | documents | dropped | recall | mostly by |', '|---|---|---|---|---|']
  for name, row in measured['reasons'].items():
    by = ', '.join(f'{rule} {count}' for rule, count in row['by'].items())
    out.append(f'| {name} | {row["documents"]} | {row["dropped"]} | {row["recall"]:.2f} | {by} |')
  return '\n'.join(out + (_of_rules(measured) if rules else [])) + '\n'


def _of_rules(measured):
  head, out = '| fires | bad | precision | recall |', []
  out += ['', f'| rule {head} alone: good lost | alone: bad dropped |', '|---|---|---|---|---|---|---|']
  for name, row in measured['rules'].items():
    out.append(f'| {name} {_cells(row)} {row["only_good"]} | {row["only_bad"]} |')
  out += ['', f'| label ≥ {LABEL} {head}', '|---|---|---|---|---|']
  out += [f'| {name} {_cells(row)}' for name, row in measured['labels'].items()]
  return out


def _cells(row):
  return f'| {row["fires"]} | {row["bad"]} | {row["precision"]:.2f} | {row["recall"]:.3f} |'
