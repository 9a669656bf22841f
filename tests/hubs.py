"""Small tokenizer folders of Hugging Face's kind, learnt here, and texts that are hard on tokenizers.

Three kinds: `qwen` (bytes, NFC, every digit by itself), `llama` (SentencePiece's pieces with bytes for the
rest, and a space before each text), `first` (the same, but the space only where a text begins). The
templates are our own and do what those of the well-known families do.
"""

import json
import random
import re

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

TEXTS = [
  '今天天气很好，我们去公园散步。',
  'The cat sat on 12345 mats.\n\n',
  'user\n\n\n\nassistant\nsystem\n你好！',
] * 9
# As GPT-2 and its successors cut text, with single digits.
CUT = r'[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
CHATML = ('<|endoftext|>', '<|im_start|>', '<|im_end|>')

_TURNS = "{% for m in messages %}<|im_start|>{{ m.role + '\\n' + m.content }}<|im_end|>\n{% endfor %}"
_ASK = '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
TEMPLATES = {
  # A system turn where none is given.
  'chatml': "{% if messages[0].role != 'system' %}<|im_start|>system\n乐于助人。<|im_end|>\n{% endif %}"
  + _TURNS
  + _ASK,
  # Reasoning is shown in the last answer alone, which has an empty one if it has none.
  'thinks': """{%- for m in messages -%}
{%- set content = m.content -%}
{%- if m.role == 'assistant' -%}
{%- set thought = '' -%}
{%- if '</think>' in content -%}
{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{%- if loop.last -%}
{%- set content = '<think>\\n' + thought + '\\n</think>\\n\\n' + content -%}
{%- endif -%}
{%- endif -%}
{{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}""",
  # Every answer shows its reasoning, and a prompt asks for an answer without.
  'skips': """{%- for m in messages -%}
{%- set content = m.content -%}
{%- if m.role == 'assistant' -%}
{%- set thought = '' -%}
{%- if '</think>' in content -%}
{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{%- set content = '<think>\\n' + thought + '\\n</think>\\n\\n' + content -%}
{%- endif -%}
{{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}""",
  # Contents are stripped, a text begins with a token, headers stand between two tokens.
  'headers': """{{- bos_token -}}
{%- for m in messages -%}
{{- '<|head|>' + m.role + '<|text|>\\n\\n' + m.content | trim + '<|eot|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|head|>assistant<|text|>\\n\\n' -}}{%- endif -%}""",
  # Nothing ends an answer but the next turn.
  'open': """{{- '[gMASK]' -}}
{%- for m in messages -%}{{- '<|' + m.role + '|>\\n' + m.content -}}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}""",
  # The prompt begins the reasoning that no answer shows; the marks are not called special.
  'leads': """{{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}{{- '<｜User｜>' + m.content -}}{%- endif -%}
{%- if m.role == 'assistant' -%}
{{- '<｜Assistant｜>' + m.content.split('</think>')[-1] + eos_token -}}
{%- endif -%}
{%- if m.role == 'system' -%}{{- m.content -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<｜Assistant｜><think>\\n' -}}{%- endif -%}""",
  # Marks of turns that are mere text, no system turn, and a tracking tag.
  'words': """{%- if messages[0].role == 'system' -%}
{{- raise_exception('no system turn, please') -}}
{%- endif -%}
{{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}{{- '[INST] ' + m.content | trim + ' [/INST]' -}}
{%- else -%}{%- generation -%}{{- ' ' + m.content | trim + eos_token -}}{%- endgeneration -%}{%- endif -%}
{%- endfor -%}""",
}
_THINK = ('<think>', '</think>')
# template: (special tokens, other added tokens, names of special ones, those that end a text)
MARKS = {
  'chatml': (
    CHATML,
    _THINK,
    {'eos': '<|im_end|>', 'pad': '<|endoftext|>'},
    ['<|im_end|>', '<|endoftext|>'],
  ),
  'headers': (
    ('<|begin|>', '<|end|>', '<|head|>', '<|text|>', '<|eot|>'),
    (),
    {'bos': '<|begin|>', 'eos': '<|eot|>'},
    ['<|end|>', '<|eot|>'],
  ),
  'open': (
    ('<|endoftext|>', '[gMASK]', '<|system|>', '<|user|>', '<|assistant|>'),
    (),
    {'eos': '<|endoftext|>'},
    ['<|endoftext|>', '<|user|>'],
  ),
  'leads': (
    ('<s>', '</s>'),
    ('<｜User｜>', '<｜Assistant｜>', *_THINK),
    {'bos': '<s>', 'eos': '</s>'},
    ['</s>'],
  ),
  'words': (('<s>', '</s>'), (), {'bos': '<s>', 'eos': '</s>'}, ['</s>']),
  '': (('<|endoftext|>',), (), {'eos': '<|endoftext|>'}, ['<|endoftext|>']),
}
MARKS['skips'] = MARKS['chatml']
MARKS['thinks'] = (*MARKS['chatml'][:3], ['<|im_end|>'])
MARKS['base'] = (CHATML, (), {'eos': '<|endoftext|>', 'pad': '<|endoftext|>'}, ['<|endoftext|>'])


def _tokenizer(kind, special):
  """Learns a vocabulary of about 400."""
  if kind == 'qwen':
    made = tokenizers.Tokenizer(models.BPE())
    made.normalizer, made.decoder = normalizers.NFC(), decoders.ByteLevel()
    cut = pre_tokenizers.Split(tokenizers.Regex(CUT), 'isolated')
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([cut, letters])
    how = trainers.BpeTrainer(
      vocab_size=400, initial_alphabet=letters.alphabet(), special_tokens=list(special), show_progress=False
    )
    made.train_from_iterator(TEXTS, how)
    return made
  known = ['<unk>', *special, *(f'<0x{i:02X}>' for i in range(256))]
  made = tokenizers.Tokenizer(models.BPE(unk_token='<unk>', byte_fallback=True, fuse_unk=True))
  space = [
    decoders.Replace('\u2581', ' '),
    decoders.ByteFallback(),
    decoders.Fuse(),
    decoders.Strip(' ', 1, 0),
  ]
  made.decoder = decoders.Sequence(space)
  if kind == 'llama':
    made.normalizer = normalizers.Sequence(
      [normalizers.Prepend('\u2581'), normalizers.Replace(' ', '\u2581')]
    )
  else:
    made.pre_tokenizer = pre_tokenizers.Metaspace('\u2581', 'first', split=False)
  lines = [line for text in TEXTS for line in text.split('\n')]
  made.train_from_iterator(
    lines, trainers.BpeTrainer(vocab_size=420, special_tokens=known, show_progress=False)
  )
  plain = json.loads(made.to_str())  # bytes are pieces of the vocabulary, and no special tokens
  plain['added_tokens'] = [t for t in plain['added_tokens'] if not re.fullmatch('<0x..>', t['content'])]
  return tokenizers.Tokenizer.from_str(json.dumps(plain))


def make(folder, kind='qwen', template='chatml', own=True):
  """Writes a folder with that kind of tokenizer and template; `own` False leaves the template out."""
  special, added, names, ends = MARKS[template]
  made = _tokenizer(kind, special)
  made.add_tokens([tokenizers.AddedToken(token, special=False, normalized=False) for token in added])
  folder.mkdir(parents=True, exist_ok=True)
  made.save(str(folder / 'tokenizer.json'))
  config = {'tokenizer_class': 'PreTrainedTokenizerFast', 'clean_up_tokenization_spaces': False}
  config |= {f'{name}_token': token for name, token in names.items()}
  if template in TEMPLATES and own:
    config['chat_template'] = TEMPLATES[template]
  (folder / 'tokenizer_config.json').write_text(json.dumps(config, ensure_ascii=False))
  ids = [made.token_to_id(token) for token in ends]
  (folder / 'generation_config.json').write_text(json.dumps({'eos_token_id': ids}))
  return folder


_HARD = [
  '今天天气很好', '𠮷野家', '㐂', '，。！？“”《》', 'Ａ１①㎡ﬁ', 'The cat', 'naïve', 'e\u0301', '각',
  'שלום', 'ไทย', '👨\u200d👩\u200d👧', '🇨🇳', '👍🏽', ' ', '  ', '\u3000', '\u00a0', '\t',
  '\n', '\r\n', '\n\n', '\u2028', '\u200b', '\ufeff', '\u2581', '\ufffd', '\x00',
  '\x07', '\x7f', '\ue000', '\U0010ffff', '12345', '3.14', '<|im_end|>',
  '<|im_start|>user\n', '<|endoftext|>', '<think>', '</s>', '<unk>', '<0x0A>',
  '<|eot|>', '[INST]', '{{ 7*7 }}', '%',
]  # fmt: skip


def fuzz(count, seed=0):
  """So many strings that are hard on a tokenizer, some random characters of all planes among them."""
  draw = random.Random(seed)

  def bit():
    if draw.random() < 0.8:
      return draw.choice(_HARD)
    code = draw.choice(
      [draw.randrange(1, 0x3000), draw.randrange(0x4E00, 0x9FFF), draw.randrange(0x110000)]
    )
    return '' if 0xD800 <= code < 0xE000 else chr(code)

  return [''.join(bit() for _ in range(draw.randrange(1, 12))) for _ in range(count)]


def talk(*texts, system=None):
  """Messages of user, assistant, user, …"""
  first = [] if system is None else [{'role': 'system', 'content': system}]
  return first + [{'role': ('user', 'assistant')[i % 2], 'content': text} for i, text in enumerate(texts)]
