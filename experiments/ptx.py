"""What does PPO cost on plain text, and does text beside it pay that back?

Claim: PPO alone loses on what the model could do before; the gradient of pretraining text beside it,
PPO-ptx, wins most of it back at little cost of reward (Ouyang et al. 2022, section 4.2, table 14).

  python -m launch.sweep experiments/ptx.py          # prints the commands; paste them, or pipe into sh

Expect: bits_per_byte_change in results.json above 0.02 without, below it with; win rates within a few
points. Needs a story in runs/demo (make demo); two runs of five minutes on two CPU cores. Found (seed 0):
+3.9 % without, at 19.6 nats and 99.8 % wins; -4.6 % with, at 17.5 nats and 99.0 %. Both repeat themselves
(distinct-2 0.23, 0.25; SFT 0.64): β is this low to show the cost. At the demo's 0.2 (5.9 nats, 91 % wins)
it is +1.6 % without.
"""

CONFIG = 'configs/ppo.py:size=demo'


def runs():
  for pretrain_cost in (0.0, 1.0):
    yield {'ppo.pretrain_cost': pretrain_cost, 'ppo.kl_cost': 0.02, 'steps': 60}
