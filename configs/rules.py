"""Cleaning rules: which texts stay, for each kind of source. `presets()` is the table.

Each preset names a bound for every rule: `min_x` or `max_x` of a measure x (`zhlm/clean/rules.py`). A text
that breaks one is dropped, and the report counts it under the rule's name. Shares run from 0 to 1.
--config.rules.web.min_characters=100          another bound
--config.rules.web.off='max_new_lines'         rules to leave out, with spaces between them
--config.rules.web.convert=t2s                 Traditional to Simplified (opencc: t2s, tw2sp, s2t, …)
"""

from ml_collections import ConfigDict

# A text with one of these words is left out: abuse, and what web sites say about themselves.
ABUSE = '傻逼 煞笔 傻B 傻b 逼嘴 逼事 操你 他妈的 肏 屄 屌 婊子'
BOILERPLATE = '宾馆反馈 免费注册 网站导航'

_LINES = (
  'min_mean_line min_line_ends max_more_lines max_ellipsis_lines max_bullet_lines max_dup_lines '
  'max_dup_line_characters'
)
_WORDS = (
  'min_words max_words min_mean_word max_mean_word max_hashes max_ellipses min_alpha_words min_stop_words '
  'max_new_lines min_entropy max_top_word'
)
_OURS = (  # what FineWeb-2 does not ask
  'min_characters max_characters max_mojibake max_bracketed min_han max_digits max_private_use max_kana '
  'max_rare min_mean_line max_more_lines min_distinct max_repeated min_entropy max_top_word'
)
_TOP = 'max_top_2gram max_top_3gram max_top_4gram'
_DUP = 'max_dup_5gram max_dup_6gram max_dup_7gram max_dup_8gram max_dup_9gram max_dup_10gram'
_MARKS = 'max_bracketed max_digits max_private_use max_kana max_rare'
_LOOSE_DUP = dict(zip(_DUP.split(), (0.35, 0.32, 0.29, 0.27, 0.25, 0.23), strict=True))


def _web():
  """Every rule; sources: FineWeb-2 cmn_Hani, ChineseWebText (CWT), MAP-CC, C4; ours where none is named."""
  return ConfigDict(
    {
      'off': '',  # names of rules that are not applied, with spaces between them
      'convert': '',  # opencc configuration; '' keeps the script that a text is in, and labels it
      'code': 0.1,  # a page with so much code is judged by the rest of its lines; 0: like any other
      'private': True,  # identity numbers, mobiles, addresses … masked (zhlm/clean/private.py)
      'min_characters': 200,  # CWT
      'max_characters': 1_000_000,  # a page above this is a dump; a worker needs about 150 B a character
      'max_mojibake': 0.005,  # characters that a wrong charset left: C4 allows none, pages hold slips
      'max_bracketed': 0.1,  # characters inside 【】: advertising (MAP-CC)
      'min_han': 0.2,  # Chinese characters among those that are not space (CWT: 0.3)
      'max_digits': 0.3,  # digits among characters that are not space (MAP-CC)
      'max_private_use': 0.01,  # characters of private use: a font of the page's own
      'max_kana': 0.2,  # kana among kana and Chinese characters: Japanese has 0.4 and more
      'max_rare': 0.1,  # Chinese characters in neither GB 2312 nor Big5: mojibake and 火星文
      'min_mean_line': 10.0,  # characters a line: navigation and lists have fewer (CWT)
      'min_line_ends': 0.106,  # lines that end a sentence, in quotes or not (FineWeb-2 line_punct_thr)
      'max_more_lines': 0.3,  # lines that end in 展开, 更多 or 。。。 (MAP-CC)
      'max_ellipsis_lines': 0.3,  # Gopher
      'max_bullet_lines': 0.9,  # Gopher
      'max_dup_lines': 0.287,  # lines that stood there before (FineWeb-2 dup_line_frac)
      'max_dup_line_characters': 0.1,  # characters in such lines (FineWeb-2 char_duplicates_ratio)
      'min_distinct': 0.1,  # distinct characters over length (of at most 200)
      'max_repeated': 0.5,  # 13-grams of characters that repeat earlier ones (CWT)
      'min_words': 50,  # Gopher; words with a letter or digit
      'max_words': 100_000,  # Gopher
      'min_mean_word': 1.0,  # characters a word (FineWeb-2)
      'max_mean_word': 5.0,  # characters a word: Chinese has 1.6, English 5 (FineWeb-2)
      'max_hashes': 0.1,  # '#' a word (Gopher)
      'max_ellipses': 0.1,  # '…' and '...' a word (Gopher)
      'min_alpha_words': 0.5,  # words with a letter (FineWeb-2: 0.735, which loses figures, formulas, code)
      'min_stop_words': 2,  # different ones of 22 (FineWeb-2)
      'max_new_lines': 0.178,  # line ends a word (FineWeb-2)
      'min_entropy': 3.0,  # of words, in nats: 20 different words at least (MAP-CC)
      'max_top_word': 0.15,  # characters in the most frequent word of 2 to 4 (news: 0.1 at most): stuffing
      'max_top_2gram': 0.256,  # characters in the most frequent n-gram of words (FineWeb-2) …
      'max_top_3gram': 0.201,
      'max_top_4gram': 0.171,
      'max_dup_5gram': 0.198,  # … and in n-grams that were read before
      'max_dup_6gram': 0.182,
      'max_dup_7gram': 0.167,
      'max_dup_8gram': 0.154,
      'max_dup_9gram': 0.14,
      'max_dup_10gram': 0.127,
      'blocked': '',  # words that no text may hold, with spaces between them
    }
  )


def _like_web(**changes):
  """`_web` with other bounds."""
  preset = _web()
  preset.update(changes)
  return preset


def _demo(min_characters, max_characters, min_han, blocked=ABUSE):
  """The few rules that suit texts of one sentence as well as pages: the demo's kinds."""
  off = f'{_LINES} {_WORDS} {_TOP} {_DUP} {_MARKS}'
  return _like_web(
    off=off,
    min_characters=min_characters,
    max_characters=max_characters,
    min_han=min_han,
    max_mojibake=0.0,  # its sources are clean: one bad character tells of a broken record
    blocked=blocked,
  )


def presets():
  """{name: ConfigDict}: the bounds of every rule, and the rules left out, for each kind of source."""
  return ConfigDict(
    {
      'web': _web(),
      # FineWeb-2's own rules for cmn_Hani with its thresholds, and none of ours, for comparison.
      'fineweb2': _like_web(off=_OURS, code=0.0, min_alpha_words=0.735),
      # Encyclopaedias and manuals: lists, tables, markup and code are part of them.
      'wiki': _like_web(
        off=f'max_new_lines min_line_ends min_mean_line max_bullet_lines {_TOP}',
        min_characters=50,
        min_words=20,
        min_alpha_words=0.5,  # half the words of marked-up Chinese are signs
        min_stop_words=1,
        max_dup_lines=0.4,
        max_dup_line_characters=0.2,
        **_LOOSE_DUP,
      ),
      # Manuals with code: a third of the characters may be Chinese, and listings repeat lines.
      'manual': _like_web(
        off=f'max_new_lines min_line_ends min_mean_line max_bullet_lines max_hashes {_TOP} {_DUP}',
        min_characters=50,
        min_han=0.1,
        min_words=20,
        max_mean_word=10.0,
        min_alpha_words=0.3,
        min_stop_words=1,
        max_dup_lines=0.6,
        max_dup_line_characters=0.5,
      ),
      # News: prose as on the web, but a report may be one paragraph.
      'news': _like_web(off=f'max_new_lines {_TOP}', min_characters=50, min_words=25, min_stop_words=1),
      # Books and laws, whole or by chapter: dialogue is full of signs, articles repeat their phrases.
      'book': _like_web(
        off=f'max_new_lines max_bullet_lines min_stop_words max_words {_TOP}',
        min_characters=50,
        max_characters=3_000_000,  # the longest novels, cut into parts; 150 B of a worker a character
        min_words=20,
        min_alpha_words=0.5,
        max_ellipses=0.2,
        **_LOOSE_DUP,
      ),
      # Verse, old and new: short lines, few words, refrains.
      'poem': _like_web(
        off=f'{_LINES} {_WORDS} {_TOP} {_DUP} max_rare',
        min_characters=10,
        min_han=0.5,
        max_characters=100_000,
      ),
      # Conversations: anything that people ask for, code and English too.
      'chat': _like_web(
        off=f'{_LINES} {_WORDS} {_TOP} {_DUP} max_digits max_bracketed',
        min_characters=4,
        max_characters=100_000,
        min_han=0.2,
      ),
      # The demo's.
      'plain': _demo(8, 100_000, 0.5),
      'review': _demo(4, 3_000, 0.5, f'{ABUSE} {BOILERPLATE}'),
      'fact': _demo(4, 2_000, 0.4),
      'conversation': _demo(2, 20_000, 0.3),
      'preference': _demo(4, 20_000, 0.3),
      'prompt': _demo(2, 2_000, 0.3),
    }
  )
