"""Words in Chinese text, which writes no spaces: enough of them to tell what a review is about."""

import math
import re
from collections import Counter, defaultdict, namedtuple

# frequency: {word: count}; stop, feeling: sets of words; parts: {word: {part of speech: count}}
Lexicon = namedtuple('Lexicon', 'frequency stop feeling parts')

_LONGEST = 4
_DOMAINS = {
  '图书': '书 作者 小说 故事 阅读 读者 看完 内容 文字 孩子 宝宝 当当',
  '酒店': '酒店 宾馆 房间 入住 前台 早餐 服务员 携程 大堂 客人 装修 洗澡',
  '电脑': '电脑 机器 机子 笔记本 键盘 屏幕 电池 系统 驱动 硬盘 散热 内存 京东 显卡 配置 XP',
  '热水器': '热水器 加热 安装 师傅 水箱',
  '手机': '手机 通话 短信 铃声 充电器',
  '牛奶': '牛奶 蒙牛 伊利 奶粉',
}
_OTHER = '商品'
_AROUND = 12  # lines before and after that vote: the files are sorted by what they are about


# Beginnings and ends of two-word runs that the frequency list counts as one word.
_NO_NOUN = re.compile(
  '^[一两几第太很不没还这那我您买看写装刚搞比]|[过来到得]$|^(尚可|感谢|好书|挺好|有点|有些|自带|待机)'
)


def parts_of_speech(tagged):
  """{word: Counter of tags} of text with `word/TAG` tokens."""
  parts = defaultdict(Counter)
  for token in tagged.split():
    word, _, tag = token.rpartition('/')
    parts[word][tag] += 1
  return parts


def segment(text, frequency):
  """The most probable words of a text, if words were drawn one by one (Viterbi)."""
  total = math.log(2e9)
  best = [(0.0, 0)]  # at each end: the best score, and where its last word begins
  for end in range(1, len(text) + 1):
    options = []
    for start in range(max(0, end - _LONGEST), end):
      count = frequency.get(text[start:end], 1 if end - start == 1 else 0)
      if count:
        options.append((best[start][0] + math.log(count) - total, start))
    best.append(max(options))
  out, end = [], len(text)
  while end:
    start = best[end][1]
    out.append(text[start:end])
    end = start
  return out[::-1]


def nouns(text, lexicon):
  """Words of two to four characters that a text may be about: no stop words, no feelings."""
  out = set()
  for run in re.findall('[\u4e00-\u9fff]+', text):
    out.update(word for word in segment(run, lexicon.frequency) if _noun(word, lexicon))
  return sorted(out)


def _noun(word, lexicon):
  if not 2 <= len(word) <= _LONGEST or word in lexicon.stop or word in lexicon.feeling:
    return False
  if _NO_NOUN.search(word):
    return False
  tags = lexicon.parts.get(word, {})
  named = sum(count for tag, count in tags.items() if tag in ('n', 'vn', 's', 'an', 'j', 'l'))
  return not tags or named > 0.6 * sum(tags.values())


def domains(lines):
  """What each line is about: the domain whose words it and its neighbours use most, or 商品."""
  marks = {name: marks.split() for name, marks in _DOMAINS.items()}
  votes = [{name: sum(mark in line for mark in m) for name, m in marks.items()} for line in lines]
  out = []
  for i, own in enumerate(votes):
    near = votes[max(0, i - _AROUND) : i + _AROUND + 1]
    score = {name: sum(vote[name] for vote in near) + 4 * own[name] for name in marks}
    name = max(score, key=score.get)
    out.append(name if score[name] else _OTHER)
  return out
