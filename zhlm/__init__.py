"""zhlm: a ChatGPT for Chinese, from raw text to PPO, as pure functions of arrays and files."""
