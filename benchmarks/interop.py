"""Exported folders in another version of transformers: the same logits, the same greedy text.

  python -m venv v4 && v4/bin/pip install torch transformers==4.57.6
  python -m benchmarks.interop --python=v4/bin/python --to=benchmarks/interop.md

Writes each architecture that is exported (tests/hub.py) as bfloat16, a tiny run with our own tokenizer,
and a reward model; the other Python, which has no zhlm, opens them with the Auto classes. Run it
once for each version: the table has a section for each, and a later run replaces that of its version.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from tests import hub, tiny, toy
from zhlm import checkpoint, devices, generate, model
from zhlm.convert import runs
from zhlm.data import chat, tokenizer

_PYTHON = flags.DEFINE_string('python', sys.executable, 'A Python with torch and transformers.')
_TO = flags.DEFINE_string('to', 'benchmarks/interop.md', 'The table to write.')
GOLDENS = Path(__file__).parent.parent / 'tests' / 'goldens'
NEW = 20  # tokens
PROMPT = [{'role': 'user', 'content': '山水月日？'}]
# What runs there: {folder: what to do} in, {folder: what came of it} out.
THERE = """
import json, sys, warnings
import torch, transformers
transformers.logging.set_verbosity_error()
A = transformers
version, found = transformers.__version__, {}
kind = 'dtype' if int(version.split('.')[0]) > 4 else 'torch_dtype'
for folder, ask in json.load(open(sys.argv[1])).items():
  how = {kind: torch.float32, 'attn_implementation': 'eager'}
  opener = A.AutoModelForSequenceClassification if ask['scalar'] else A.AutoModelForCausalLM
  net = opener.from_pretrained(folder, **how).eval()
  rows = torch.tensor(ask['tokens'])
  mask = torch.ones_like(rows)
  with torch.no_grad():
    out = {'class': type(net).__name__, 'logits': net(rows, attention_mask=mask).logits.tolist()}
    if not ask['scalar']:
      if not ask['text']:
        net.generation_config.eos_token_id = None
      new = net.generate(rows, attention_mask=mask, max_new_tokens=ask['new'], do_sample=False)
      out['new'] = new[:, rows.shape[1]:].tolist()
  if ask['text']:
    words = A.AutoTokenizer.from_pretrained(folder)
    said = words.apply_chat_template(ask['prompt'], add_generation_prompt=True, return_dict=True)
    out['prompt'], out['text'] = list(said['input_ids']), words.decode(out['new'][0])
  found[folder] = out
json.dump({'version': version, 'torch': torch.__version__, 'found': found}, open(sys.argv[2], 'w'))
"""


def tiny_run(folder):
  """A run of forty updates with a tokenizer of its own, as a folder; returns what it says to PROMPT."""
  data = toy.make_toy(folder / 'data')
  start = tiny.train('pretrain', data, folder / 'pretrain') and str(folder / 'pretrain')
  tiny.train('sft', data, folder / 'sft', lambda _: start)
  with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
    runs.export_run(folder / 'sft', folder / 'hub', dtype='float32')
    config, params = checkpoint.read_config(folder / 'sft'), checkpoint.load(folder / 'sft', 'policy')
  words = tokenizer.load(str(Path(data) / 'tokenizer'))
  prompt = chat.encode_prompt(words, PROMPT)
  net = model.make(config)
  how = dict(S=config.batch.T, stop=chat.end_of_turn(words), temperature=0)
  new = [*generate.stream(net, params, prompt, jax.random.key(0), **how)][:NEW]
  return folder / 'hub', prompt, hub.logits(net, params, np.array([prompt])), chat.decode(words, new)


def ask(folder):
  """({folder: what to do there}, {folder: (logits, ids or None, text or None)})."""
  asks, expected = {}, {}

  def add(name, out, logits, tokens, ids=None, text=None, scalar=False):
    asks[str(out)] = dict(tokens=np.asarray(tokens).tolist(), scalar=scalar, text=text is not None, new=NEW)
    asks[str(out)]['prompt'] = PROMPT
    expected[str(out)] = name, np.asarray(logits), ids, text

  for name in hub.EXPORTED:
    net, params = hub.network(GOLDENS / name)  # of bfloat16: what is written is what is here
    hub.export(net, params, folder / name, 'bfloat16', limit=10_000)
    logits, ids = hub.logits(net, params, hub.tokens()), hub.greedy(net, params, NEW)
    add(f'`{name}`', folder / name, logits, hub.tokens(), ids)
  net, params = hub.network(GOLDENS / 'qwen3')
  net, params = model.Transformer(net.config, 'scalar'), {**params, 'score': np.ones(16, np.float32)}
  params['score_bias'] = np.zeros(1, np.float32)
  hub.export(net, params, folder / 'reward')
  tokens = np.maximum(hub.tokens(), 1)
  add('reward model', folder / 'reward', hub.logits(net, params, tokens)[:, -1:], tokens, scalar=True)
  out, prompt, logits, text = tiny_run(folder / 'run')
  add('tiny run, own tokenizer', out, logits, [prompt], text=text)
  return asks, expected


def table(answer, expected):
  """The section of one version, as Markdown; and whether all is the same."""
  lines = [f'## transformers {answer["version"]}, torch {answer["torch"]}', '']
  lines += ['| exported | class there | largest difference of logits | greedy |', '|---|---|---|---|']
  good = True
  for folder, (name, logits, ids, text) in expected.items():
    found = answer['found'][folder]
    off = hub.off(np.array(found['logits'], np.float32), logits)
    said = '–'
    if ids is not None:
      same = np.array_equal(found['new'], ids)
      said = f'{NEW} tokens the same' if same else 'differs'
      good &= same
    if text is not None:
      there = found['text'].removesuffix('<|im_end|>')
      said = f'“{text}” the same' if there == text else f'“{there}”, not “{text}”'
      good &= there == text
    good &= off < 1e-4
    lines.append(f'| {name} | {found["class"]} | {off:.1e} | {said} |')
  return '\n'.join(lines) + '\n', good


def main(_):
  """Writes the section of the version that --python has; fails where anything differs."""
  with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    asks, expected = ask(folder)
    (folder / 'ask.json').write_text(json.dumps(asks))
    script = [_PYTHON.value, '-c', THERE, str(folder / 'ask.json'), str(folder / 'answer.json')]
    subprocess.run(script, check=True)
    section, good = table(json.loads((folder / 'answer.json').read_text()), expected)
  path = Path(_TO.value)
  old = path.read_text('utf-8') if path.exists() else ''
  title = '# Exported folders in transformers: `python -m benchmarks.interop`'
  sections = [s for s in re.split(r'(?m)^(?=## )', old)[1:] if s.split('\n')[0] != section.split('\n')[0]]
  path.write_text(
    '\n'.join([title, '', *(s.strip() + '\n' for s in sorted([*sections, section]))]), 'utf-8'
  )
  print(section)
  if not good:
    sys.exit('something differs')


if __name__ == '__main__':
  app.run(main)
