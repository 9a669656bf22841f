"""Talk to a run in the terminal: several turns, streaming; a base model goes on writing your text instead.

  python -m launch.generate --workdir=runs/demo/ppo
  python -m launch.generate --workdir=runs/demo/sft --prompt=“马到成功”是什么意思？ --temperature=0

An empty line or Ctrl-D ends it; /new starts a new conversation.
"""

import itertools

from absl import flags

from launch import run

_WORKDIR = flags.DEFINE_string('workdir', None, 'The folder of a training run.', required=True)
_PROMPT = flags.DEFINE_string('prompt', None, 'Answer this and end; without it, a conversation.')
_TEMPERATURE = flags.DEFINE_float('temperature', 0.7, '0 always takes the likeliest token.', lower_bound=0)
_TOP_K = flags.DEFINE_integer('top_k', 50, 'Sample from so many likeliest tokens; 0 is all.', lower_bound=0)
_TOP_P = flags.DEFINE_float('top_p', 0.95, 'Of the top_k, the likeliest that hold this probability.', 0, 1)
_SEED = flags.DEFINE_integer('seed', 0, 'The same seed says the same.')


def turns():
  """What the user says, line by line."""
  if _PROMPT.value is not None:
    yield _PROMPT.value
    return
  print('请说话（空行结束，/new 重新开始） · say something (an empty line ends, /new starts again)')
  while True:
    try:
      line = input('你 you> ').strip()
    except EOFError:
      return
    if not line:
      return
    yield line


def main(_):
  import jax  # after the flags: --help needs no jax

  from zhlm import devices, evals, generate, model
  from zhlm.data import chat, tokenizer
  from zhlm.errors import InputError

  opened = evals.open_run(_WORKDIR.value)
  config, words = opened.config, opened.tokenizer
  base = config.stage == 'pretrain'
  with jax.set_mesh(devices.make_mesh({}, jax.devices()[:1])):
    net, params = model.make(config), opened.load('policy')
    how = dict(temperature=_TEMPERATURE.value, top_k=_TOP_K.value, top_p=_TOP_P.value, S=config.batch.T)
    stop = chat.end_of_text(words) if base else chat.end_of_turn(words)
    messages, key = [], jax.random.key(_SEED.value)
    for i, line in zip(itertools.count(), turns()):
      if line == '/new':
        messages = []
        continue
      messages.append({'role': 'user', 'content': line})
      while True:
        prompt = chat.encode_prompt(words, messages)
        if base:
          prompt = [chat.end_of_text(words), *tokenizer.encode(words, line)]
        if len(prompt) < config.batch.T - 8:
          break
        if len(messages) == 1:
          raise InputError(f'{len(prompt)} tokens leave no room in a context of {config.batch.T}')
        messages = messages[2:]  # the oldest turn falls out of the context
      said = []
      tokens = generate.stream(net, params, prompt, jax.random.fold_in(key, i), stop=stop, **how)
      print(line if base else '机 bot> ', end='', flush=True)
      for piece in chat.pieces(words, tokens):
        said.append(piece)
        print(piece, end='', flush=True)
      print()
      messages.append({'role': 'assistant', 'content': ''.join(said).strip() or '…'})


if __name__ == '__main__':
  run(main)
