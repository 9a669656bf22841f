"""A SentencePiece BPE that loses nothing: any text, encoded and decoded, is the same text again.

A folder may hold a tokenizer of Hugging Face's instead (`zhlm.data.hub`), which has the same methods.
Some pieces are control symbols, which no text can ever produce; what they mean is `zhlm.data.chat`'s
affair.
"""

import contextlib
import os
import re
import shutil
from collections import Counter

import sentencepiece

from zhlm import disk
from zhlm.data import hub
from zhlm.errors import InputError

CONTROL = ('<|endoftext|>', '<|im_start|>', '<|im_end|>')
_LINE = 1_000  # characters: SentencePiece silently skips lines above `max_sentence_length` bytes


def train(texts, path, vocab_size, coverage=0.9995, threads=2):
  """Learns a vocabulary from an iterable of texts and writes it to `path`.

  BPE, for its vocabulary does not depend on the number of threads; identity normalisation, for the
  default one turns Chinese punctuation into ASCII; bytes for what the vocabulary lacks.
  Raises InputError when there is no text, or too little or too much for `vocab_size`.
  """
  os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
  temporary = f'{path}.tmp'
  lines = (p for text in texts for line in text.split('\n') for p in re.findall(f'.{{1,{_LINE}}}', line))
  with open(temporary, 'wb') as file:
    try:
      sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=file,
        model_type='bpe',
        vocab_size=vocab_size,
        character_coverage=coverage,
        byte_fallback=True,
        normalization_rule_name='identity',
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        control_symbols=list(CONTROL),
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        max_sentence_length=8 * _LINE,
        num_threads=threads,
        minloglevel=2,
      )
    except (RuntimeError, OSError) as error:
      if isinstance(error, OSError) and error.errno:  # of the disk; SentencePiece's own have none
        raise
      reason = str(error).strip().split('\n')[-1]
      if 'sentences_.empty' in reason:
        raise InputError('tokenizer: there is no text to learn from') from None
      raise InputError(
        f'tokenizer: vocab_size={vocab_size} does not fit this text ({reason}): '
        'choose another vocab_size, or a smaller character_coverage'
      ) from None
  os.replace(temporary, path)


def _model(path):
  return os.path.join(path, 'tokenizer.model') if os.path.isdir(path) else str(path)


def _ours(path):
  """The SentencePieceProcessor of a folder or file; None when the folder holds a tokenizer.json instead."""
  model = _model(path)
  foreign = os.path.isfile(os.path.join(path, 'tokenizer.json'))
  if not os.path.isfile(model):
    if foreign:
      return None
    raise InputError(f'{path}: no tokenizer here; make one with: python -m launch.prepare')
  try:
    spm = sentencepiece.SentencePieceProcessor(model_file=model)
  except (RuntimeError, OSError):
    raise InputError(f'{model}: this is not a SentencePiece model') from None
  # Other people's models lie beside their tokenizer.json, which says more: ours have these control symbols.
  if all(spm.is_control(spm.piece_to_id(name)) for name in CONTROL):
    return spm
  if foreign:
    return None
  raise InputError(
    f'{model}: a SentencePiece model without {", ".join(CONTROL)}; save it as a tokenizer.json with '
    f"transformers: AutoTokenizer.from_pretrained('…').save_pretrained('…')"
  )


def load(path):
  """The tokenizer of a folder, or of a file tokenizer.model: a SentencePieceProcessor or a `hub.Tokenizer`.

  Raises InputError when there is none, or it is none.
  """
  spm = _ours(path)
  return hub.Tokenizer(path) if spm is None else spm


def fingerprint(path):
  """Hex digest of all that decides ids, '' when nothing is there: of tokenizer.model if it is ours, else of
  tokenizer.json with the chat template and the names of special tokens."""
  folder = os.path.dirname(_model(path))
  if not any(os.path.isfile(os.path.join(folder, name)) for name in ('tokenizer.model', 'tokenizer.json')):
    return ''
  return hub.fingerprint(path) if _ours(path) is None else disk.sha256(_model(path))


def copy(path, folder):
  """Makes `folder` hold the tokenizer of `path` and no other; ours with a tokenizer.json."""
  tokenizer = load(path)
  os.makedirs(folder, exist_ok=True)
  if os.path.samefile(os.path.dirname(_model(path)), folder):
    return
  for name in hub.FILES:
    with contextlib.suppress(FileNotFoundError):
      os.remove(os.path.join(folder, name))
  if isinstance(tokenizer, hub.Tokenizer):
    hub.copy(path, folder)
    return
  shutil.copyfile(_model(path), os.path.join(folder, 'tokenizer.model'))
  export(tokenizer, os.path.join(folder, 'tokenizer.json'))


def encode(tokenizer, text):
  """Token ids of plain text: control symbols in it stay text, lone surrogates become `?`."""
  return tokenizer.encode(text.encode('utf-8', 'replace').decode('utf-8'))


def describe(tokenizer, texts):
  """How well it does on texts: characters a token, the share of tokens that are bytes, the characters that
  had to become bytes, and how many texts do not come back as they were."""
  texts = [text.encode('utf-8', 'replace').decode('utf-8') for text in texts]
  ids = tokenizer.encode(texts, num_threads=2)
  tokens, characters = sum(map(len, ids)), sum(map(len, texts))
  newline = tokenizer.piece_to_id('<0x0A>')  # may always be a byte, and is no sign of a gap
  fallen = sum(tokenizer.is_byte(i) for row in ids for i in row if i != newline)
  count = Counter(character for text in texts for character in text if character not in ' \n')
  missing = Counter({c: n for c, n in count.items() if any(map(tokenizer.is_byte, tokenizer.encode(c)))})
  return {
    'vocab_size': tokenizer.get_piece_size(),
    'characters': characters,
    'tokens': tokens,
    'characters_per_token': round(characters / max(tokens, 1), 3),
    'byte_tokens_share': round(fallen / max(tokens, 1), 5),
    'coverage': round(1 - missing.total() / max(count.total(), 1), 5),
    'missing': ''.join(c for c, _ in missing.most_common(40)),
    'round_trip_losses': sum(tokenizer.decode(row) != text for row, text in zip(ids, texts, strict=True)),
  }


def export(tokenizer, path):
  """Writes `tokenizer.json` (Hugging Face's tokenizers), which gives the same ids for the same text.

  A merge is a pair of pieces whose union is a piece; it is preferred as its union is. The control
  symbols are special tokens there: unlike here, text that spells them becomes them.
  """
  import tokenizers

  pieces = [tokenizer.id_to_piece(i) for i in range(tokenizer.get_piece_size())]
  vocabulary = {piece: i for i, piece in enumerate(pieces)}
  plain = [
    i
    for i in range(len(pieces))
    if not (tokenizer.is_control(i) or tokenizer.is_byte(i) or tokenizer.is_unknown(i))
  ]
  plain.sort(key=lambda i: (-tokenizer.get_score(i), i))
  usable = {pieces[i] for i in plain}
  merges = [
    (pieces[i][:cut], pieces[i][cut:])
    for i in plain
    for cut in range(1, len(pieces[i]))
    if pieces[i][:cut] in usable and pieces[i][cut:] in usable
  ]
  unknown = pieces[tokenizer.unk_id()]
  model = tokenizers.models.BPE(vocabulary, merges, unk_token=unknown, byte_fallback=True, fuse_unk=True)
  out = tokenizers.Tokenizer(model)
  out.normalizer = tokenizers.normalizers.Replace(' ', '\u2581')
  steps = [tokenizers.decoders.Replace('\u2581', ' '), tokenizers.decoders.ByteFallback()]
  out.decoder = tokenizers.decoders.Sequence([*steps, tokenizers.decoders.Fuse()])
  out.add_special_tokens([tokenizers.AddedToken(name, normalized=False) for name in CONTROL])
  disk.write_text(path, out.to_str(pretty=True))
