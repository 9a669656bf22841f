"""The two READMEs say the same commands, the commands exist, and the reading order is an hour's."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = {name: (ROOT / name).read_text('utf-8') for name in ('README.md', 'README_zh.md')}


def commands(text):
  """The lines of the `sh` blocks, without comments and with continued lines joined."""
  blocks = re.findall(r'```sh\n(.*?)```', text, re.S)
  lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
  return [' '.join(line.split('#')[0].split()) for line in lines if line.split('#')[0].strip()]


def order(text):
  """[(path, lines)] of the reading order."""
  part = text.split('<!-- order:begin -->')[1].split('<!-- order:end -->')[0]
  return [(path, int(n)) for path, n in re.findall(r'\]\((\S+?)\) \| (\d+) \|', part)]


def test_both_readmes_give_the_same_commands():
  english, chinese = map(commands, README.values())
  assert english and english == chinese


def test_every_command_in_the_readme_exists():
  targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.M)
  for line in commands(README['README.md']):
    for module in re.findall(r'python -m (launch\.\w+)', line):
      assert (ROOT / (module.replace('.', '/') + '.py')).is_file(), line
    for file in re.findall(r'(?:--config=|sweep )((?:configs|experiments)/\w+\.py)', line):
      assert (ROOT / file).is_file(), line
    for target in re.findall(r'^make (\w+)', line):
      assert target in targets, line


@pytest.mark.parametrize('name', README)
def test_the_reading_order_is_at_most_a_thousand_lines_and_counted_right(name):
  listed = order(README[name])
  assert len(listed) >= 10
  for path, lines in listed:
    assert len((ROOT / path).read_text('utf-8').splitlines()) == lines, (
      f'{path}: python tests/readme_test.py'
    )
  assert sum(lines for _, lines in listed) <= 1_000


@pytest.mark.parametrize('name', README)
def test_every_file_that_the_readme_links_to_exists(name):
  for path in re.findall(r'\]\((?!http)([^)#]+)\)', README[name]):
    assert (ROOT / path).exists(), path


def test_the_sizes_meshes_and_stages_in_the_readme_are_those_of_the_configs():
  from configs import base

  for text in README.values():
    assert f'`{" ".join(base.SIZES)}`' in text and f'`{" ".join(base.MESHES)}`' in text
    for stage in (ROOT / 'zhlm/stages').glob('[a-z]*.py'):
      assert f'`configs/{stage.name}`' in text


def test_every_command_line_program_explains_itself():
  for path in sorted((ROOT / 'launch').glob('[a-z]*.py')):
    text = path.read_text('utf-8')
    if "if __name__ == '__main__'" not in text:  # what programs share
      continue
    assert f'python -m launch.{path.stem}' in text.split('"""')[1], path
    compile(text, path, 'exec')


def test_the_script_of_the_story_is_sound_shell():
  subprocess.run(['sh', '-n', ROOT / 'launch/everything.sh'], check=True)


if __name__ == '__main__':  # writes the counts into both
  for name, text in README.items():
    for path, _ in order(text):
      n = len((ROOT / path).read_text('utf-8').splitlines())
      text = re.sub(rf'(\]\({re.escape(path)}\) \| )\d+( \|)', rf'\g<1>{n}\2', text)
    total = sum(len((ROOT / p).read_text('utf-8').splitlines()) for p, _ in order(text))
    text = re.sub(r'\*\*[\d,]+\*\*( \|[^|]*\|\n<!-- order:end)', rf'**{total:,}**\1', text)
    (ROOT / name).write_text(text, 'utf-8')
