"""Does a dearer KL buy less score, and at what price?

Claim: PPO's policy moves along a frontier: the higher the KL cost β, the nearer it stays to the
reference and the lower its score (Ziegler et al. 2019, section 3.2; Stiennon et al. 2020, figure 5).

  python -m launch.sweep experiments/kl_cost.py          # prints the commands; paste them, or pipe into sh

Expect: at the last step, kl falls and score falls as kl_cost rises. Needs a story in runs/demo (make demo);
nine runs of about three minutes on two CPU cores. Found: not run yet.
"""

CONFIG = 'configs/ppo.py:size=demo'


def runs():
  for kl_cost in (0.01, 0.05, 0.25):
    for seed in range(3):
      yield {'ppo.kl_cost': kl_cost, 'seed': seed}
