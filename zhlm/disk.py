"""Files that are there whole or not at all, and what a file's contents are called."""

import hashlib
import json
import os


def sha256(path):
  """Hex digest of a file."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def write_text(path, text):
  """Writes a file whole or not at all; makes its folder."""
  os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
  part = f'{path}.part-{os.getpid()}'
  with open(part, 'w', encoding='utf-8') as file:
    file.write(text)
  os.replace(part, path)


def whole_lines(path, keep):
  """The lines, as bytes, of a JSONL file whose objects `keep` takes, without one that was cut off as its
  writer died; [] without the file. Only a newline ends one: str.splitlines would cut at letters of text."""
  kept = []
  for line in path.read_bytes().split(b'\n') if path.exists() else ():
    try:
      record = json.loads(line)
    except ValueError:
      continue
    if keep(record):
      kept.append(line + b'\n')
  return kept


def write_json(path, value):
  """Writes a value to read by eye and by machine, whole or not at all."""
  write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + '\n')


def flat(tree, prefix=''):
  """{'a': {'b': 1}} -> {'a.b': 1}."""
  out = {}
  for name, value in tree.items():
    out.update(flat(value, f'{prefix}{name}.') if isinstance(value, dict) else {prefix + name: value})
  return out
