"""A SentencePiece BPE that loses nothing: any text, encoded and decoded, is the same text again.

It knows that some pieces are control symbols, which no text can ever produce; what they mean is
`zhlm.data.chat`'s affair.
"""

import os
import re

import sentencepiece

from zhlm.data.manifest import sha256  # noqa: F401 (data and checkpoints compare it)
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
      reason = str(error).strip().split('\n')[-1]
      raise InputError(
        f'tokenizer: vocab_size={vocab_size} does not fit this text ({reason}): '
        'choose another vocab_size, or a smaller character_coverage'
      ) from None
  os.replace(temporary, path)


def load(path):
  """The SentencePieceProcessor of a file. Raises InputError when there is none, or it is none."""
  if not os.path.isfile(path):
    raise InputError(f'{path}: no tokenizer here; make one with: python -m launch.prepare')
  try:
    return sentencepiece.SentencePieceProcessor(model_file=path)
  except (RuntimeError, OSError):
    raise InputError(f'{path}: this is not a SentencePiece model') from None


def encode(tokenizer, text):
  """Token ids of plain text: control symbols in it stay text, lone surrogates become `?`."""
  return tokenizer.encode(text.encode('utf-8', 'replace').decode('utf-8'))


def describe(tokenizer, texts):
  """How well it does on texts: characters a token, and the share of tokens that are bytes."""
  ids = tokenizer.encode(list(texts), num_threads=2)
  tokens, characters = sum(map(len, ids)), sum(map(len, texts))
  fallen = sum(tokenizer.is_byte(i) for row in ids for i in row)
  newlines = sum(text.count('\n') for text in texts)  # always a byte, and no sign of a gap
  return {
    'vocab_size': tokenizer.get_piece_size(),
    'characters': characters,
    'tokens': tokens,
    'characters_per_token': round(characters / max(tokens, 1), 3),
    'byte_tokens_share': round((fallen - newlines) / max(tokens, 1), 5),
  }
