"""Samples a run's answers, has them judged, and writes them as rows that launch.prepare reads.

  python -m launch.sample --workdir=runs/demo/sft --judge=run:runs/demo/reward --out=ranked.jsonl
  python -m launch.sample --workdir=runs/demo/sft --judge=run:runs/demo/reward --keep=best --out=best.jsonl

keep=all makes comparisons for the reward model, keep=best conversations for SFT (rejection sampling). A
judge is what --config.rollout.reward takes (docs/rewards.md), or `people`: then add "ranks": [2, 1, …] to
every line, 1 for the best, the same number for a tie. Prepare the rows with the run's own tokenizer.
"""

from absl import flags

from launch import run

_WORKDIR = flags.DEFINE_string('workdir', None, 'The run whose policy answers.', required=True)
_JUDGE = flags.DEFINE_string('judge', None, 'rules, run:FOLDER, a weighted sum, or people.', required=True)
_OUT = flags.DEFINE_string('out', None, 'The JSON Lines file to write.', required=True)
_SAMPLES = flags.DEFINE_integer('samples', 4, 'Answers to a prompt.')
_PROMPTS = flags.DEFINE_string('prompts', '', 'So many of the training prompts, or a file; else all.')
_TEMPERATURE = flags.DEFINE_float('temperature', 1.0, 'Of sampling.', lower_bound=0)
_KEEP = flags.DEFINE_string('keep', 'all', 'all: comparisons; best: conversations with the best answer.')
_SEED = flags.DEFINE_integer('seed', 0, 'The same seed says the same.')


def main(_):
  import jax  # after the flags: --help needs no jax

  from zhlm import devices, evals
  from zhlm.evals import sampling

  opened, prompts = evals.open_run(_WORKDIR.value), _PROMPTS.value
  if prompts.isdigit() or not prompts:
    rows = sampling.train_prompts(opened, int(prompts or 0), _SEED.value)
  else:
    rows = sampling.prompts_of(prompts)
  how = dict(samples=_SAMPLES.value, keep=_KEEP.value, temperature=_TEMPERATURE.value, seed=_SEED.value)
  with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
    sampling.sample(opened, rows, _JUDGE.value, _OUT.value, **how)
  tokenizer = f'--config.tokenizer={opened.config.data}/tokenizer'
  first = 'Add "ranks": [2, 1, …] to every line (1 is best, ties share a number); then: '
  print(
    f'{first if _JUDGE.value == sampling.PEOPLE else ""}python -m launch.prepare '
    f'--config=configs/data.py:source={_OUT.value} {tokenizer} --workdir=NEW'
  )


if __name__ == '__main__':
  run(main)
