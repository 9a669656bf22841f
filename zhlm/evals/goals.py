"""What the story promises, beside what was measured: the table at its end."""

import json
from pathlib import Path

# (stage, what is measured, zh, en, '>' or '<', the goal: a number or another measurement of that stage)
GOALS = (
  ('pretrain', 'bits_per_character', '每字比特数，对照三元模型', 'bits a character; goal: the trigram', '<',
   'bits_per_character_3gram'),
  ('pretrain', 'bits_per_byte', '每字节比特数，对照三元模型', 'bits a byte; goal: the trigram', '<',
   'bits_per_byte_3gram'),
  ('sft', 'test/loss', '监督微调的测试损失（奈特/词元）', 'SFT test loss, nats a token', '', None),
  ('sft', 'format_rate', '格式完全正确的回答', 'answers in the exact form asked for', '', None),
  ('reward', 'accuracy', '奖励模型在未见偏好对上的准确率', 'reward accuracy on held-out pairs', '>', 0.8),
  ('ppo', 'win_rate', 'PPO 对 SFT 的胜率（独立评判）', 'win rate of PPO over SFT, by the judge', '>', 0.7),
  ('ppo', 'distinct_2_ppo', '不同二字组之比，对照 SFT 的一半', 'distinct-2; goal: half of SFT\'s', '>',
   ('distinct_2_sft', 0.5)),
)  # fmt: skip


def _note(stage, name, r):
  """What a reader needs beside the number."""
  if name == 'bits_per_character':
    return f'1-/2-/3-gram: {r[name + "_1gram"]:.2f} / {r[name + "_2gram"]:.2f} / {r[name + "_3gram"]:.2f}'
  if name == 'accuracy':
    parts = {k.removeprefix('accuracy_'): v for k, v in r.items() if k.startswith('accuracy_')}
    by = ', '.join(f'{k} {v:.1%}' for k, v in parts.items() if k not in ('low', 'high'))
    return f'95 %: {r["accuracy_low"]:.1%} – {r["accuracy_high"]:.1%}; {by}'
  if name == 'format_rate':
    parts = {k.removeprefix('format_rate_'): v for k, v in r.items() if k.startswith('format_rate_')}
    return ', '.join(f'{k} {v:.0%}' for k, v in parts.items())
  if name == 'win_rate':
    return (
      f'95 %: {r["win_rate_low"]:.1%} – {r["win_rate_high"]:.1%}; KL {r["kl"]:.2f} ± '
      f'{r["kl_error"]:.2f} nats, {r["prompts"]} prompts; '
      f'judge right on {r["judge_accuracy"]:.1%} of unseen reviews'
    )
  return f'SFT {r["distinct_2_sft"]:.3f}' if name == 'distinct_2_ppo' else ''


def table(workdir):
  """[{name, value, goal, met, note}] of what the runs in a story's folder have measured so far."""
  rows = []
  for stage, name, zh, en, sign, goal in GOALS:
    path = Path(workdir) / stage / 'results.json'
    results = json.loads(path.read_text()) if path.exists() else {}
    if name not in results:
      continue
    other, factor = goal if isinstance(goal, tuple) else (goal, 1.0)
    goal = results[other] * factor if isinstance(other, str) else other
    value = results[name]
    met = {'<': lambda v, g: v < g, '>': lambda v, g: v >= g, '': lambda v, g: None}[sign](value, goal)
    note = _note(stage, name, results)
    rows.append({'name': f'{zh} · {en}', 'value': value, 'goal': goal, 'met': met, 'note': note})
  return rows
