"""Any text by what can be counted in it: length, repetition, script, form of the answer."""

import re

from zhlm.clean import script as scripts
from zhlm.errors import InputError

_HEADS = {'definition': '“{}”的意思是：', 'riddle': '{}——'}  # how answers of the demo begin; {}: the word
_FORMS = {
  'sentence': r'.*[。！？…][”’」』）]*',
  'number': r'[-−]?\d+(?:\.\d+)?',
}
_WORD = re.compile('“(.+?)”|：(.+?)——$')
_SCRIPTS = ('hans', 'hant')


def length(prompt, completion, low: int, high: int):
  """1 from `low` to `high` characters, blanks not counted; n/low below; above, falling in a straight line
  to 0 at twice `high`; in [0, 1]. Raises InputError unless 0 <= low <= high and high > 0."""
  if not 0 <= low <= high or not high:
    raise InputError(f'length needs 0 <= low <= high and high > 0, not {low},{high}')
  n = sum(not character.isspace() for character in completion)
  return n / low if n < low else max(0.0, 1 - max(n - high, 0) / high)


def distinct(prompt, completion, n: int = 4):
  """Different n-grams over all n-grams of characters, blanks not counted, in (0, 1]: 1 where none repeats.

  The distinct-n of Li et al. 2016 (A diversity-promoting objective function for neural conversation
  models), of one text. A text of fewer than n characters repeats nothing: 1. Raises InputError for n < 1.
  """
  if n < 1:
    raise InputError(f'distinct counts runs of 1 character or more, not {n}')
  text = ''.join(completion.split())
  grams = [text[i : i + n] for i in range(len(text) - n + 1)]
  return len(set(grams)) / len(grams) if grams else 1.0


def script(prompt, completion, wanted: str = ''):
  """1.0 for a text in the script `wanted` (hans or hant) or in characters that both have, 0.0 for another.

  Without `wanted`, the prompt's; where that tells none, anything but a mixture. What a mixture is, says
  zhlm/clean/script.py: names and quotations are none. Raises InputError for another script.
  """
  if wanted and wanted not in _SCRIPTS:
    raise InputError(f"no script is named {wanted!r}; choose from {', '.join(_SCRIPTS)}, or the prompt's")
  wanted = wanted or scripts.script(prompt)
  found = scripts.script(completion)
  return float(found == 'none' or (found == wanted if wanted in _SCRIPTS else found != 'mixed'))


def format(prompt, completion, form: str):
  """1.0 for a completion, without blanks at its ends, that has a form, else 0.0.

  form: 'definition' (“WORD”的意思是：…), 'riddle' (WORD——…), 'word' (it holds WORD), where WORD is what the
  prompt asks about; 'sentence' (it ends as one), 'number' (it is one), or /a regular expression/ that
  matches all of it. Raises InputError for another name or an expression that is none.
  """
  said, asked = completion.strip(), word(prompt)
  if form in _HEADS:
    beginning = _HEADS[form].format(asked)
    return float(bool(asked) and said.startswith(beginning) and said != beginning)
  if form == 'word':
    return float(bool(said) and asked in said)
  if form in _FORMS:
    pattern = _FORMS[form]
  elif len(form) > 2 and form[0] == form[-1] == '/':
    pattern = form[1:-1]
  else:
    choices = ', '.join([*_HEADS, 'word', *_FORMS])
    raise InputError(f'no form is named {form!r}; choose from {choices}, or write /an expression/')
  try:
    return float(re.fullmatch(pattern, said, re.DOTALL) is not None)
  except re.error as error:
    raise InputError(f'{form} is no regular expression: {error}') from None


def word(question):
  """The word that a question of the demo asks about, in “” or before a last ——; '' where there is none."""
  found = _WORD.search(question)
  return found[1] or found[2] if found else ''


def head(answer):
  """How an answer to the demo's definitions and riddles begins: '“山”的意思是：', '山——'; '' of others."""
  found = re.match('|'.join(beginning.format('.+?') for beginning in _HEADS.values()), answer)
  return found[0] if found else ''
