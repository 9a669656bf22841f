"""A chat template of Hugging Face's kind, rendered in a sandbox; it knows text and no ids.

The template is a stranger's program: jinja2's sandbox keeps it from Python's internals, and what it
raises becomes an error of one line. Who wrote which character is found by rendering it twice, once with
the contents and once with a private-use mark in place of each: then a content can be told from the
template even if it spells the template's own tokens.
"""

import datetime
import functools
import json
import os
import re

from zhlm.errors import InputError

_MARK = re.compile('\ue000([0-9]+)\ue001')
_STRIPS = (str, str.strip, str.lstrip, str.rstrip, lambda s: s.strip('\n'), lambda s: s.lstrip('\n'))


class Refused(InputError):
  """One conversation that the template does not take; others may do."""


def _now(pattern):
  """The time as a template writes it. $SOURCE_DATE_EPOCH, in seconds, holds the clock still, so that data
  can be made again exactly."""
  seconds = os.environ.get('SOURCE_DATE_EPOCH')
  now = datetime.datetime
  return (now.fromtimestamp(float(seconds), datetime.UTC) if seconds else now.now()).strftime(pattern)


@functools.cache
def _environment():
  import jinja2
  from jinja2 import ext, sandbox

  class Generation(ext.Extension):
    """`{% generation %}…{% endgeneration %}`, by which some templates say what the assistant writes; here
    that is found without them."""

    tags = {'generation'}

    def parse(self, parser):
      next(parser.stream)
      return parser.parse_statements(('name:endgeneration',), drop_needle=True)

  def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    """Jinja's own escapes what HTML must not hold."""
    return json.dumps(
      value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )

  def raise_exception(message):
    raise jinja2.TemplateError(message)

  made = sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols, Generation]
  )
  made.filters['tojson'] = tojson
  made.globals |= {'raise_exception': raise_exception, 'strftime_now': _now}
  return made


class Template:
  """A chat template: source, and the special tokens it may name ({'bos_token': '<s>', …}).

  where: how errors call it. Raises InputError when the source is no template.
  """

  def __init__(self, source, names, where):
    import jinja2

    self.source, self.where, self._names = source, where, names
    self._parts = {}
    try:
      self._template = _environment().from_string(source)
    except jinja2.TemplateError as error:
      raise InputError(f'{where}: the chat template is not valid: {" ".join(str(error).split())}') from None

  def render(self, messages, answer):
    """The text of messages; with `answer`, up to where the assistant starts to write.

    Raises Refused with the template's own words, or when the sandbox stops it.
    """
    import jinja2

    given = {'messages': messages, 'add_generation_prompt': answer, 'tools': None, 'documents': None}
    try:
      return self._template.render({**self._names, **given})
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, ArithmeticError) as error:
      said = ' '.join(str(error).split()) or type(error).__name__
      raise Refused(f'{self.where}: the chat template refuses a conversation: {said}') from None

  def parts(self, messages, answer):
    """[template text, index of a message, template text, …] when contents are but marks."""
    key = (*(m['role'] for m in messages), answer)
    if key not in self._parts:
      marked = [{**m, 'content': f'\ue000{i}\ue001'} for i, m in enumerate(messages)]
      text = _MARK.split(self.render(marked, answer))
      self._parts[key] = [int(part) if i % 2 else part for i, part in enumerate(text)]
    return self._parts[key]

  def spans(self, messages, answer):
    """[(text, whether a message said it)] whose texts together are the rendering; None when the template
    rewrites contents (other than to strip them), so that nobody can tell."""
    whole, parts = self.render(messages, answer), self.parts(messages, answer)
    if not whole.startswith(parts[0]):
      return None
    spans, at = [(parts[0], False)], len(parts[0])
    for i, after in zip(parts[1::2], parts[2::2], strict=True):
      said = next(
        (s for strip in _STRIPS if whole.startswith((s := strip(messages[i]['content'])) + after, at)), None
      )
      if said is None:
        return None
      spans += [(said, True), (after, False)]
      at += len(said) + len(after)
    return spans if at == len(whole) else None
