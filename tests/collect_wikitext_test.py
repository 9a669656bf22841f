"""Of wikitext the prose comes out as a reader in mainland China sees it, and nothing else."""

import random

import mwparserfromhell
import pytest

from tests.wikitext import ARTICLE, PROSE
from zhlm.collect import wikitext


def test_an_article():
  assert wikitext.plain(ARTICLE) == PROSE


def test_it_agrees_with_mwparserfromhell_where_that_leaves_nothing():
  rng = random.Random(0)
  pieces = [
    '石桥',
    "'''粗'''，",
    "''斜''，",
    '[[河岸]]',
    '[[河岸|岸边]]',
    '{{cite|a=[[b]]}}',
    '<b>重</b>',
  ]
  pieces += [
    '[http://a.example 公告]',
    '，又',
    '完。\n',
    '<ref name="a" />',
    '<!-- 注 -->',
    '小&lt;大',
    '\n== 节 ==\n文',
  ]
  for _ in range(200):
    text = ''.join(rng.choices(pieces, k=20)) + '完。'
    expected = mwparserfromhell.parse(text).strip_code()
    assert ''.join(wikitext.plain(text).split()) == ''.join(expected.split()), text


@pytest.mark.parametrize(
  ('markup', 'shown'),
  [
    ('-{不转换}-', '不转换'),
    ('-{zh-hans:计算机;zh-hant:電腦}-', '计算机'),
    ('-{zh-hant:電腦;zh-hans:计算机;}-', '计算机'),
    ('-{zh-tw:電腦;zh-hk:電腦;zh-cn:电脑;zh-hans:计算机}-', '电脑'),
    ('-{zh-tw:電腦;zh-sg:电脑}-', '电脑'),
    ('-{zh-tw:電腦}-', '電腦'),
    ('-{zh-cn:;zh-tw:有}-', ''),
    ('-{A|zh-hans:甲;zh-hant:乙}-', '甲'),
    ('-{H|zh-hans:甲;zh-hant:乙}-', ''),
    ('-{A;H|zh-hans:甲;zh-hant:乙}-', ''),
    ('-{T|zh-hans:甲;zh-hant:乙}-', ''),
    ('-{-|zh-hans:甲;zh-hant:乙}-', ''),
    ('-{R|甲:乙;丙}-', '甲:乙;丙'),
    ('-{R|zh-cn:甲;zh-tw:乙}-', 'zh-cn:甲;zh-tw:乙'),
    ('-{zh-hans;zh-hant|甲}-', '甲'),
    ('-{H|巨集=>zh-cn:宏;}-', ''),
    ('-{巨集=>zh-cn:宏;}-', '宏'),
    ('-{甲-{zh-cn:乙;zh-tw:丙}-丁}-', '甲乙丁'),
    ('-{zh-cn:[[甲|乙]];zh-tw:[[丙|丁]]}-', '乙'),
    ('[[甲|-{zh-cn:乙;zh-tw:丙}-]]', '乙'),
    ('{{lang|en|-{A|B}-}}', 'B'),
    ('{{x|-{zh-cn:甲;zh-tw:{{乙}}}-}}丙', '丙'),
    ('-{zh-cn:<b style="color:red;">甲</b>;zh-tw:乙}-', '甲'),
    ('甲-{{lang|en|B}}-丙', '甲-B-丙'),
  ],
)
def test_variants(markup, shown):
  assert wikitext.plain(f'文{markup}。') == f'文{shown}。'


@pytest.mark.parametrize(
  ('markup', 'shown'),
  [
    ('[[File:a.jpg|thumb|图[[甲]]{{乙}}[[文件:b.jpg|小图]]]]', ''),
    ('[[分类:甲]][[Category:乙|丙]][[ja:丁]]', ''),
    ('[[:分类:甲]]', '分类:甲'),
    ('[[s:甲|]][[Wikipedia:乙]][[丙 (书)|]][[丁#戊|己]]', '甲Wikipedia:乙丙己'),
    ('{{甲|{{乙|{{丙}}}}|[[丁|戊]]}}', ''),
    ('{{tsl|en|Bridge|桥|石桥}}{{link-ja|甲|乙|丙}}{{le|丁|D}}', '石桥丙丁'),
    ('{{lang-fr|pont}}{{Lang|en|bridge}}{{nowrap|1=甲}}', 'pontbridge甲'),
    ('{{bd|1900年|1月2日|1950年|3月4日|catIdx=A}}', '1900年1月2日－1950年3月4日'),
    ('甲（{{lang-x}}，{{y}}；）', '甲'),
    ('<nowiki>[[甲]]</nowiki><code>{{x}}</code>', '[[甲]]{{x}}'),
    ('<math>\\frac{{a}}{b}</math>', '$\\frac{{a}}{b}$'),
    ('<gallery>\nFile:a.jpg|图\n</gallery>', ''),
    ('<ref>甲<ref name=b/></ref>', ''),
    ('H<sub>2</sub>O&amp;<br/>', 'H2O&'),
    ('&lt;b&gt;__NOTOC__', '<b>'),
  ],
)
def test_links_templates_and_tags(markup, shown):
  assert ' '.join(wikitext.plain(f'{markup}').split('\n')) == shown


def test_tables_are_dropped_however_nested():
  table = '{| class="a"\n! 甲\n|-\n| 乙 || {{丙|丁}}\n{|\n| 戊\n|}\n| 己\n|}'
  assert wikitext.plain(f'前文。\n{table}\n后文。') == '前文。\n后文。'
  assert wikitext.plain(f'{{{{x|\n{table}|}}}}后文。') == '后文。'


def test_sections_without_prose_are_cut_with_their_subsections():
  text = (
    '甲。\n== 参考文献 ==\n* 乙\n=== 丙 ===\n丁\n==戊==\n己。\n== 庚 ==\n=== 辛 ===\n== 外部連結 ==\n壬'
  )
  assert wikitext.plain(text) == '甲。\n戊\n己。'


@pytest.mark.parametrize('mark', ['{{', '}}', '[[', ']]', '-{', '}-', '|}', '<ref>', '</ref>', '[', "'''"])
def test_a_bracket_without_its_other_half_loses_no_text(mark):
  for text in (f'前{mark}文后文', f'前{mark}[[文]]后文', f'[[前]]文{mark}后文', f'-{{前{mark}文}}-后文'):
    shown = wikitext.plain(text)
    assert ''.join(c for c in shown if c not in "[]{}|'") == '前文后文', text


OPEN = [
  '{{',
  '[[',
  '-{',
  '<ref>',
  '<math>',
  '<math',
  '<!--',
  '[//a',
  '[//a ',
  '<b ',
  '==',
  '（ ',
  '{{convert|',
]
OPEN += ['\n{|', '= ', ' ', "'''"]


@pytest.mark.parametrize('mark', OPEN)
def test_thirty_thousand_open_brackets(mark):
  wikitext.plain('前文。' + mark * 30_000)
  nested = mark.strip() * 30_000 + '文' * 30_000
  wikitext.plain(nested + {'{{': '}}', '[[': ']]', '-{': '}-'}.get(mark, '>') * 30_000)
