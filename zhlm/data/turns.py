"""Conversations as ids by a folder's own chat template: the template speaks by ids, contents stay text.

A rendering becomes units: special tokens (ids, of the template only) and single characters between them.
A stretch of characters is encoded whole, as transformers does, except where the assistant starts to
write: a model that samples starts anew there, so a token that would reach over that point is cut.

  prompt        … <|im_start|> assistant\\n
  conversation  … <|im_start|> assistant\\n 你好！ <|im_end|>       mask 1 on the last two

An answer that the template shows otherwise once another follows (Qwen3 takes its reasoning out) is no
longer what the assistant wrote: in the longer conversation it is context, and its mask is 0.
"""

import functools
import itertools

from zhlm.data.template import Refused
from zhlm.errors import InputError

_GIVE = 'give eos_token in its tokenizer_config.json'
_ASKED = {'role': 'user', 'content': '你好'}  # before an answer that is encoded by itself


def _template(tokenizer):
  """The folder's template. Raises InputError when it has none."""
  if tokenizer.template is None:
    raise InputError(
      f'{tokenizer.folder}: this tokenizer has no chat template, and no <|im_start|> and <|im_end|> for '
      f'ChatML; put the template of your choice into {tokenizer.folder}/chat_template.jinja'
    )
  return tokenizer.template


def _units(tokenizer, text):
  """Units of what a template wrote."""
  at, out = 0, []
  for found in tokenizer.pattern.finditer(text):
    out += [*text[at : found.start()], tokenizer.piece_to_id(found[0])]
    at = found.end()
  return [*out, *text[at:]]


def _ids(units):
  return [unit for unit in units if not isinstance(unit, str)]


def render(tokenizer, messages, answer):
  """Units of messages; with `answer`, up to where the assistant starts to write.

  Raises Refused when the template does not take them, or when it rewrites contents of which one spells a
  special token: then the token and its spelling cannot be told apart.
  """
  template = _template(tokenizer)
  spans = template.spans(messages, answer)
  if spans is not None:
    return [unit for text, said in spans for unit in (text if said else _units(tokenizer, text))]
  whole = _units(tokenizer, template.render(messages, answer))
  plain = ''.join(part for part in template.parts(messages, answer) if isinstance(part, str))
  spelled = next(filter(None, (tokenizer.pattern.search(m['content']) for m in messages)), None)
  if spelled or _ids(whole) != _ids(_units(tokenizer, plain)):
    raise Refused(
      f'{tokenizer.folder}: the chat template rewrites a conversation that spells the special token '
      f'{spelled[0] if spelled else "of a turn"}; leave this conversation out, or that spelling'
    )
  return whole


def ends(tokenizer):
  """Ids that the folder's files say end a text, the most important first."""
  about = tokenizer.about
  found = [
    *about.ends,
    *([tokenizer.piece_to_id(about.names['eos_token'])] if 'eos_token' in about.names else []),
  ]
  return list(dict.fromkeys(found))


@functools.cache
def end_of_turn(tokenizer):
  """The id that the template writes after an answer; where it writes none, the one that starts the next
  turn if the folder says that it ends texts (GLM-4), else the folder's end of text."""
  template, roles = _template(tokenizer), ('user', 'assistant', 'user')
  for count in (2, 3):
    parts = template.parts([{'role': role} for role in roles[:count]], answer=False)
    after = parts[len(parts) - parts[::-1].index(1)] if 1 in parts else ''
    found = tokenizer.pattern.search(after)
    if found and (count == 2 or tokenizer.piece_to_id(found[0]) in ends(tokenizer)):
      return tokenizer.piece_to_id(found[0])
  if not ends(tokenizer):
    raise InputError(
      f'{tokenizer.folder}: the chat template ends no turn, and no file names an end of text; {_GIVE}'
    )
  return ends(tokenizer)[0]


def end_of_text(tokenizer):
  """The id between documents: an end of text that ends no turn if there is one, else <|endoftext|>, else
  what ends a turn too."""
  turn = [end_of_turn(tokenizer)] if tokenizer.template else []
  named = [i for i, token in tokenizer.special.items() if token == '<|endoftext|>']
  found = [*(i for i in ends(tokenizer) if i not in turn), *named, *turn]
  if not found:
    raise InputError(f'{tokenizer.folder}: no file names an end of text; {_GIVE}')
  return found[0]


def pad(tokenizer):
  """The folder's padding id, or its end of text."""
  name = tokenizer.about.names.get('pad_token')
  return end_of_text(tokenizer) if name is None else tokenizer.piece_to_id(name)


def _answer(tokenizer, messages):
  """(units before, units the assistant writes) of messages that end with an answer."""
  whole, before = render(tokenizer, messages, False), render(tokenizer, messages[:-1], True)
  pairs = zip(whole, before, strict=False)
  shared = [a for a, _ in itertools.takewhile(lambda both: both[0] == both[1], pairs)]
  if shared != before:
    # It leads an answer with words that it does not show again (<think>): up to the last line they share.
    while shared and isinstance(shared[-1], str) and shared[-1] != '\n':
      shared.pop()
    if _ids(shared) != _ids(before):
      raise Refused(f'{tokenizer.folder}: the chat template shows an answer without the prompt before it')
    before = shared
  end, written = end_of_turn(tokenizer), whole[len(before) :]
  return before, [*(written[: written.index(end)] if end in written else written), end]


def _encode(tokenizer, messages, answer=False):
  """(tokens, mask) of a conversation, up to the end of its last answer; with `answer` of a prompt, up to
  where the assistant starts to write. mask: 1 on what the assistant writes, the end of its turn included.

  Raises Refused as `render` does, InputError when the folder has no template.
  """
  whole = render(tokenizer, messages, True) if answer else sum(_answer(tokenizer, messages), [])
  mask, starts = [0] * len(whole), []
  for i, message in enumerate(messages):
    if message['role'] == 'assistant':
      before, written = _answer(tokenizer, messages[: i + 1])
      start, end = len(before), len(before) + len(written)
      if whole[:end] == before + written:
        starts.append(start)
        mask[start:end] = [1] * len(written)
  tokens, on, at = [], [], 0
  while at < len(whole):
    if not isinstance(whole[at], str):
      tokens.append(whole[at])
      on.append(mask[at])
      at += 1
      continue
    end = next((i for i in range(at, len(whole)) if not isinstance(whole[i], str)), len(whole))
    cut = next((i for i in starts if at < i < end), at)
    before, after = (
      ''.join(map(tokenizer.id_to_piece, x)) for x in (whole[max(at - 1, 0) : at], whole[end : end + 1])
    )
    ids = tokenizer.encode_between(before, ''.join(whole[at:end]), after)
    head = tokenizer.encode_between(before, ''.join(whole[at:cut]), '') if cut > at else []
    if ids[: len(head)] != head:
      ids = head + tokenizer.encode_between('', ''.join(whole[cut:end]), after)
    tokens += ids
    on += [0] * len(head) + [mask[cut]] * (len(ids) - len(head))
    at = end
  return tokens, on


def encode_prompt(tokenizer, messages):
  return _encode(tokenizer, messages, answer=True)[0]


def encode_conversation(tokenizer, messages):
  return _encode(tokenizer, messages)


def encode_completion(tokenizer, text):
  tokens, mask = _encode(tokenizer, [_ASKED, {'role': 'assistant', 'content': text}])
  return [token for token, on in zip(tokens, mask, strict=True) if on]


def cut(tokenizer, messages, limit):
  # From the longest: a template may make what went before shorter when a turn follows.
  for n in range(len(messages), 0, -1):
    if messages[n - 1]['role'] == 'assistant' and len(_encode(tokenizer, messages[:n])[0]) <= limit:
      return messages[:n]
  return None
