"""Trains a classifier of good and bad text from two folders, or says with it how good texts are.

  python -m launch.classify --good=GOOD --bad=BAD --model=quality.npz
  python -m launch.classify --model=quality.npz --score=FILE > scores.tsv

GOOD and BAD are files or folders of .txt, .jsonl, … (packed ones too), a few hundred documents each at the
least. A tenth is held out; expect seconds, then precision, recall and AUC on it, and the n-grams that tell
most: look whether they speak of quality, or only of where the texts came from. --score writes score, id and
beginning of each text; 1 is good.
"""

import sys

from absl import flags

from launch import run

_GOOD = flags.DEFINE_string('good', None, 'File or folder of texts to keep.')
_BAD = flags.DEFINE_string('bad', None, 'File or folder of texts to drop.')
_MODEL = flags.DEFINE_string('model', None, 'The model: written when trained, else read.', required=True)
_SCORE = flags.DEFINE_string('score', None, 'File or folder of texts to score.')
_PRECISION = flags.DEFINE_float('precision', None, 'Threshold with this precision; else best F1.', 0, 1)


def main(_):
  from zhlm.clean import fit, linear  # after the flags
  from zhlm.collect import sources
  from zhlm.errors import InputError

  def items(path):
    for source in sources.find(path):
      for item in sources.read(source):
        if isinstance(item, dict) and item.get('text'):
          yield item
        elif not isinstance(item, dict):
          print(f'skipped: {item.where}: {item.why}', file=sys.stderr)

  if bool(_GOOD.value) != bool(_BAD.value) or not (_GOOD.value or _SCORE.value):
    raise InputError('give --good and --bad to train, or --score to use a model')
  if _GOOD.value:
    texts = [(item['text'] for item in items(path)) for path in (_GOOD.value, _BAD.value)]
    model = fit.train(*texts, precision=_PRECISION.value)
    linear.save(model, _MODEL.value)
    print(fit.describe(model), file=sys.stderr)
    print(f'模型 model: {_MODEL.value}', file=sys.stderr)
  if _SCORE.value:
    model = linear.load(_MODEL.value)
    good = number = 0
    for item, score in linear.scored(items(_SCORE.value), model):
      number, good = number + 1, good + (score >= model.threshold)
      print(f'{score:.4f}', item['id'], item['text'][:60].replace('\n', ' ').replace('\t', ' '), sep='\t')
    print(f'好 good: {good} / {number} (score >= {model.threshold:.3f})', file=sys.stderr)


if __name__ == '__main__':
  run(main)
