"""How a report looks: its colours, by day and by night, and the Chinese names of our fields."""

# Chinese for the names that our files use; a name that is not here is shown as it stands.
CHINESE = {
  'loss': '损失',
  'accuracy': '准确率',
  'margin': '得分差',
  'calibration': '校准：按置信度',
  'calibration_error': '校准误差（ECE）',
  'confidence': '平均置信度',
  'pairs': '对数',
  'bits_per_byte': '每字节比特',
  'bits_per_character': '每字比特',
  'perplexity': '困惑度',
  'score': '奖励得分',
  'kl': 'KL 散度',
  'approximate_kl': '近似 KL',
  'entropy': '熵',
  'length': '回答长度',
  'gold': '金标准分',
  'gold_error': '金标准分的标准误',
  'score_error': '奖励得分的标准误',
  'kl_error': 'KL 的标准误',
  'repeated': '重复回答占比',
  'distinct_1': '不同单字占比',
  'distinct_2': '不同二字组占比',
  'value_explained': '价值解释方差',
  'kl_cost': 'KL 代价',
  'ended': '自然结束占比',
  'policy_loss': '策略损失',
  'value_loss': '价值损失',
  'clipped': '截断占比',
  'ratio': '概率比',
  'grad_norm': '梯度范数',
  'learning_rate': '学习率',
  'tokens_per_second': '词元/秒',
  'mfu': '算力利用率',
  'parameters': '参数量',
  'steps': '步数',
  'wall_seconds': '用时（秒）',
  'sources': '来源',
  'dropped': '丢弃',
  'kept': '保留',
  'in': '读入',
  'clusters': '近似重复簇',
  'tables': '划分',
  'datasets': '数据集',
  'tokenizer': '分词器',
  'notes': '其他',
  'seconds': '用时（秒）',
  'samples': '样例',
  'count': '数量',
  'records': '条数',
  'documents': '文档',
  'characters': '字符',
  'tokens': '词元',
  'longest': '最长',
  'vocab_size': '词表大小',
  'characters_per_token': '每词元字符',
  'byte_tokens_share': '字节词元占比',
  'train': '训练集',
  'validation': '验证集',
  'test': '测试集',
}

CSS = """
:root{--paper:#faf8f4;--card:#fff;--ink:#23201c;--soft:#7a736a;--rule:#e7e2d9;--train:#2b6390;
--valid:#cf7a1d;--good:#2e7d52;--bad:#b8362b;--wash:#f2eee6}
@media(prefers-color-scheme:dark){:root{--paper:#15161a;--card:#1d1f24;--ink:#e9e6e0;--soft:#9a958c;
--rule:#30333a;--train:#79b4e6;--valid:#eda552;--good:#6cc593;--bad:#f0807a;--wash:#26292f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.65 -apple-system,"PingFang SC",
"Noto Sans CJK SC","Noto Sans SC","Microsoft YaHei",system-ui,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:1180px;margin:0 auto;padding:44px 24px 96px}
h1,h2{font-family:"Songti SC","Noto Serif CJK SC","Noto Serif SC",SimSun,serif;line-height:1.3}
h1{font-size:36px;margin:0 0 4px}h2{font-size:24px;margin:0}h3{font-size:15px;margin:22px 0 8px}
h4{font-size:14px;margin:0;font-weight:600}
section{margin-top:60px}section>header{border-top:2px solid var(--ink);padding-top:14px;
margin-bottom:18px}
p{margin:6px 0}a{color:inherit;text-decoration:none}
.en{color:var(--soft);font-size:.86em;font-weight:400;font-family:system-ui,sans-serif}
.line{display:block}h1 .en{font-size:17px;display:block}h2 .en{font-size:15px;margin-left:6px}
.big{font-size:25px;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums}
.cards,.charts{display:grid;gap:14px;
grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr))}
.charts{grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr))}
.card,figure{background:var(--card);border:1px solid var(--rule);border-radius:10px;
padding:14px 16px;
margin:0;min-width:0}.card p{font-size:13.5px}
.warn{border-color:var(--bad);margin-bottom:14px}.warn h4{color:var(--bad)}
.off{background:none;border-style:dashed;color:var(--soft)}
.facts{display:flex;flex-wrap:wrap;gap:10px 34px;margin:0 0 18px}.facts div{min-width:84px}
.facts dt{font-size:13px;color:var(--soft)}.facts dd{margin:0;font-size:18px;font-weight:600;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
figure{padding:10px 10px 6px}figcaption{display:flex;justify-content:space-between;gap:8px;
padding:0 4px 4px;align-items:baseline}
figcaption b{font-variant-numeric:tabular-nums;font-size:14px}
svg{display:block;width:100%;height:auto}svg text{font:10.5px system-ui,sans-serif;fill:var(--soft)}
svg path{fill:none;stroke-width:1.9;stroke-linejoin:round}
svg .grid{stroke:var(--rule);stroke-width:1}
.train{stroke:var(--train)}.valid{stroke:var(--valid)}svg .faint{opacity:.32;stroke-width:1}
.train.dot{fill:var(--train)}.valid.dot{fill:var(--valid)}
.key i{display:inline-block;width:16px;height:3px;border-radius:2px;margin:0 5px 3px 14px}
.scroll{overflow-x:auto;border:1px solid var(--rule);border-radius:10px;background:var(--card)}
td{min-width:9em;max-width:34em;overflow-wrap:anywhere}td.n{min-width:0;overflow-wrap:normal}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:8px 14px;text-align:left;vertical-align:top;border-top:1px solid var(--rule)}
thead th,tr:first-child>th:only-child{border-top:0}thead th{color:var(--soft);font-size:13px;
font-weight:500;white-space:nowrap}tbody tr:first-child>*{border-top:0}thead+tbody tr:first-child>*{
border-top:1px solid var(--rule)}tbody th{font-weight:500;min-width:8em}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{position:relative;height:12px;border-radius:3px;background:var(--wash);
min-width:120px;margin:6px 0}
.bar i{position:absolute;top:0;bottom:0;border-radius:3px;background:var(--soft)}
.bar u{position:absolute;top:-4px;bottom:-4px;width:2px;background:var(--ink)}
.yes i{background:var(--good)}.no i{background:var(--bad)}.yes .mark{color:var(--good)}
.no .mark{color:var(--bad)}.mark{font-weight:600;white-space:nowrap}
.talk td,.talk th{white-space:pre-wrap;overflow-wrap:anywhere;min-width:190px}
.talk th p,.talk td p{margin:0 0 8px}.said{max-height:22em;overflow:auto}
.tag{display:inline-block;font-size:12px;color:var(--soft);background:var(--wash);border-radius:5px;
padding:0 7px;margin:0 6px 4px 0;font-weight:400;white-space:normal}
details{margin-top:14px}summary{cursor:pointer;color:var(--soft);margin-bottom:10px}
.top{margin:34px 0 26px}
nav{display:flex;flex-wrap:wrap;gap:4px 20px;margin-top:18px;font-size:14px}
nav a{border-bottom:1px solid var(--rule)}
@media(max-width:640px){main{padding:28px 16px 64px}h1{font-size:27px}section{margin-top:44px}
.stack thead{display:none}.stack,.stack tbody,.stack tr,
.stack td,.stack th{display:block;width:100%}
.stack tr{border-top:1px solid var(--rule);padding:8px 0}.stack tr:first-child{border-top:0}
.stack td,.stack th{border:0!important;padding:3px 14px;text-align:left;min-width:0}
.stack td:empty{display:none}
.cards{grid-template-columns:1fr 1fr;gap:10px}.card{padding:10px 12px}
.results th{font-weight:600}
.stack td.n::before{display:inline!important;margin-right:8px}
.stack td:not([data-name=""])::before{content:attr(data-name);display:block;
color:var(--soft);font-size:12.5px;margin-top:4px}}
"""
