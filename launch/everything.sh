#!/bin/sh
# 从原始文本到聊天的全过程，按顺序；每一行都可以单独粘贴运行。
# The whole story, from raw text to a chat, in order; every line can be pasted alone.
# Finished steps are skipped and unfinished ones go on, so run it again after an interruption.
#
#   sh launch/everything.sh                 size demo, 15 minutes on two CPU cores, into runs/demo
#   sh launch/everything.sh 26m gpu_8 runs/26m
set -eu
SIZE=${1:-demo} MESH=${2:-one} RUN=${3:-runs/demo}
WITH=size=$SIZE,mesh=$MESH

# 1. 收集、清洗、去重、划分；训练分词器 · collect, clean, deduplicate, split; train the tokenizer
python -m launch.prepare --config=configs/data.py:source=demo --workdir="$RUN"

# 2. 预训练：预测下一个词元 · pretraining: predict the next token
python -m launch.train --config=configs/pretrain.py:"$WITH" --config.data="$RUN" --workdir="$RUN/pretrain"
python -m launch.evaluate --workdir="$RUN/pretrain"

# 3. 监督微调：学会对话 · supervised fine-tuning: learn to converse
python -m launch.train --config=configs/sft.py:"$WITH" --config.data="$RUN" \
  --config.init_from="$RUN/pretrain" --workdir="$RUN/sft"
python -m launch.evaluate --workdir="$RUN/sft"

# 4. 奖励模型：学习人们偏好哪个回答 · reward model: learn which answer people prefer
python -m launch.train --config=configs/reward.py:"$WITH" --config.data="$RUN" \
  --config.init_from="$RUN/sft" --workdir="$RUN/reward"
python -m launch.evaluate --workdir="$RUN/reward"

# 5. PPO：朝奖励改进，不离开太远 · PPO: improve towards the reward without going far
python -m launch.train --config=configs/ppo.py:"$WITH" --config.data="$RUN" \
  --config.init_from="$RUN/sft" --config.rollout.reward="run:$RUN/reward" --workdir="$RUN/ppo"
python -m launch.evaluate --workdir="$RUN/ppo"

# 6. 结果与报告；然后和它聊天 · results and report; then talk to it
python -m launch.report --workdir="$RUN"
