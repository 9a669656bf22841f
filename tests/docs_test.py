"""What docs/ says in two languages: the same commands, links that lead somewhere, sizes as counted."""

import re
from pathlib import Path

import pytest

from configs import base
from tests.readme_test import commands
from zhlm import checkpoint, metrics

DOCS = Path(__file__).parent.parent / 'docs'
PAIRS = sorted(p.stem for p in DOCS.glob('*.md') if (DOCS / f'{p.stem}_zh.md').exists())


def sizes():
  """The table of sizes, counted from the shapes of the networks."""
  yield '| size | parameters | used a token | D | F | N | H | G | K | V | E |'
  yield '|' + '---|' * 11
  for size in base.SIZES:
    c = base.get_config(size)
    shapes = checkpoint.unbox(checkpoint.transformer_shapes(c, 'lm'))
    count, m = metrics.count(shapes), c.model
    idle = 0
    if m.E:
      layers = shapes['layers']['experts']
      idle = (m.E - m.top) * sum(layers[k]['w'].size for k in ('gate', 'up', 'down')) // m.E
    letters = ' | '.join(f'{m[x]:,}' for x in 'DFNHGKVE')
    yield f'| `{size}` | {count:,} | {count - idle:,} | {letters} |'


@pytest.mark.parametrize('name', ['models.md', 'models_zh.md'])
def test_the_table_of_sizes_counts_the_networks_as_they_are(name):
  text = (DOCS / name).read_text('utf-8')
  found = text.split('<!-- sizes:begin -->\n')[1].split('\n<!-- sizes:end -->')[0]
  assert found.splitlines() == list(sizes()), 'python -m tests.docs_test'


def test_sizes_are_those_of_the_models_they_are_named_after():
  """Published, with embeddings: Qwen3-0.6B 0.6 B, 1.7B 1.7 B, 30B-A3B 30.5 B of which 3.3 B are used."""
  table = {line.split('`')[1]: line.split(' | ')[1:3] for line in list(sizes())[2:]}
  billions = {k: [round(int(n.replace(',', '')) / 1e9, 1) for n in v] for k, v in table.items()}
  assert billions['0.6b'][0] == 0.6 and billions['1.7b'][0] == 1.7 and billions['7b'][0] == 7.0
  assert billions['30b-a3b'] == [30.5, 3.4]  # 3.3 where the embedding is not counted
  assert table['64m'][0].startswith('63,9') and table['26m'][0].startswith('25,8')


@pytest.mark.parametrize('name', PAIRS)
def test_both_languages_give_the_same_commands(name):
  english, chinese = (commands((DOCS / f'{n}.md').read_text('utf-8')) for n in (name, f'{name}_zh'))
  assert english == chinese


@pytest.mark.parametrize('path', sorted(DOCS.glob('*.md')), ids=lambda p: p.name)
def test_every_file_that_a_page_links_to_exists(path):
  for link in re.findall(r'\]\((?!http)([^)#]+)', path.read_text('utf-8')):
    assert (DOCS / link).exists(), link


if __name__ == '__main__':  # writes the table into both
  for name in ('models.md', 'models_zh.md'):
    text = (DOCS / name).read_text('utf-8')
    before, after = text.split('<!-- sizes:begin -->\n')[0], text.split('<!-- sizes:end -->')[1]
    table = '\n'.join(sizes())
    text = f'{before}<!-- sizes:begin -->\n{table}\n<!-- sizes:end -->{after}'
    (DOCS / name).write_text(text, 'utf-8')
