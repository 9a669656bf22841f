"""TRL's PPO on random prompts, by the python of its own virtual environment.

  .venv/trl/bin/python benchmarks/trl_ppo.py SHAPE.json

SHAPE.json: what `benchmarks.ppo.Theirs` writes: its SHAPE and ROWS, and `taste`, entries of the embeddings
that give the stop token the same odds on both sides. Reads a number of updates a line from standard input
and answers with a line of JSON: seconds, CPU-seconds, seconds of each part, the mean length. The trainer is
TRL's as it comes, but for the clocks around its functions; nothing is read from a hub or written.
"""

import json
import os
import sys
import tempfile
import time

PARTS = {'batch_generation': 'rollout', 'forward': 'reference', 'get_reward': 'value and reward'}


def networks(s):
  """(policy, reference, value, reward) of random weights, all of one shape."""
  import torch
  from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

  config = Qwen3Config(
    vocab_size=s['V'],
    hidden_size=s['D'],
    intermediate_size=s['F'],
    num_hidden_layers=s['N'],
    num_attention_heads=s['H'],
    num_key_value_heads=s['G'],
    head_dim=s['K'],
    max_position_embeddings=s['P'] + s['new'],
    tie_word_embeddings=True,
    pad_token_id=s['pad'],
    eos_token_id=s['stop_token'],
    num_labels=1,
  )
  torch.manual_seed(0)
  policy, reference = Qwen3ForCausalLM(config), Qwen3ForCausalLM(config)
  with torch.no_grad():
    for name, w in policy.named_parameters():
      if name.endswith(('o_proj.weight', 'down_proj.weight')):
        w.zero_()
    embed = policy.model.embed_tokens.weight
    torch.nn.init.normal_(embed, std=0.02)
    for row, column, value in s['taste']:
      embed[slice(None) if row is None else row, column] = value
  reference.load_state_dict(policy.state_dict())
  return policy, reference, *(Qwen3ForSequenceClassification(config) for _ in range(2))


def tokenizer(s):
  """What the trainer wants of a tokenizer: a vocabulary of V words, a pad and an end."""
  from tokenizers import Tokenizer, models
  from transformers import PreTrainedTokenizerFast

  words = Tokenizer(models.WordLevel({str(i): i for i in range(s['V'])}, unk_token='0'))
  return PreTrainedTokenizerFast(
    tokenizer_object=words,
    pad_token=str(s['pad']),
    eos_token=str(s['stop_token']),
    padding_side='left',
  )


def main(path):
  """Answers numbers of updates from standard input until it ends."""
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what the libraries print is no answer
  os.environ |= {'HF_HUB_OFFLINE': '1', 'TRL_EXPERIMENTAL_SILENCE': '1'}
  with open(path, encoding='utf-8') as file:
    s = json.load(file)
  import torch
  from datasets import Dataset
  from transformers import TrainerCallback
  from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

  torch.set_num_threads(s['threads'])
  spent, counts = {}, []

  def timed(name, function):
    def call(*args, **how):
      start = time.time()
      out = function(*args, **how)
      # the policy's own forward with gradients, in the update, is no part of the rollout
      part = 'update' if name == 'forward' and torch.is_grad_enabled() else PARTS[name]
      spent[part] = spent.get(part, 0) + time.time() - start
      return out

    return call

  for name in PARTS:
    setattr(ppo_trainer, name, timed(name, getattr(ppo_trainer, name)))
  truncate = ppo_trainer.truncate_response

  def truncated(stop, pad, responses):
    out = truncate(stop, pad, responses)
    counts.append((out != pad).sum(1).float().mean().item())
    return out

  ppo_trainer.truncate_response = truncated

  class Turns(TrainerCallback):
    """Between updates, waits for the next turn."""

    left = 0

    def on_train_begin(self, args, state, control, **_):
      print(json.dumps({'ready': True}), file=answers, flush=True)
      self.wait()

    def on_step_end(self, args, state, control, **_):
      self.left -= 1
      if not self.left:
        self.answer()
        self.wait()

    def wait(self):
      line = sys.stdin.readline()
      if not line:
        os._exit(0)  # the trainer has no other way out in mid-run
      self.count = self.left = int(line)
      spent.clear()
      counts.clear()
      self.start, self.cpu = time.time(), time.process_time()

    def answer(self):
      wall, cpu = time.time() - self.start, time.process_time() - self.cpu
      told = {
        'wall': wall,
        'cpu': cpu,
        'parts': {**spent, 'update': wall - sum(v for k, v in spent.items() if k != 'update')},
        'length': sum(counts) / len(counts) if counts else s['new'],
      }
      print(json.dumps(told), file=answers, flush=True)

  with tempfile.TemporaryDirectory() as folder:
    config = PPOConfig(
      output_dir=folder,
      per_device_train_batch_size=s['B'],
      local_rollout_forward_batch_size=s['B'],
      num_mini_batches=1,
      num_ppo_epochs=s['epochs'],
      total_episodes=s['B'] * 10**6,
      response_length=s['new'],
      stop_token_id=s['stop_token'] if s['early'] else None,
      temperature=1.0,
      learning_rate=s['learning_rate'],
      num_sample_generations=0,
      gradient_checkpointing=False,
      bf16=False,
      use_cpu=True,
      save_strategy='no',
      report_to=[],
      disable_tqdm=True,
      logging_steps=10**6,
      dataloader_pin_memory=False,
    )
    prompts = torch.randint(s['low'], s['V'], (1_024, s['P']), generator=torch.Generator().manual_seed(1))
    rows = Dataset.from_dict({'input_ids': prompts.tolist()})
    policy, reference, value, reward = networks(s)
    trainer = PPOTrainer(
      args=config,
      processing_class=tokenizer(s),
      model=policy,
      ref_model=reference,
      reward_model=reward,
      value_model=value,
      train_dataset=rows,
      eval_dataset=rows.select(range(s['B'])),
      callbacks=[Turns()],
    )
    trainer.train()


if __name__ == '__main__':
  main(*sys.argv[1:])
