"""An article of our own with all that articles have in them, and the prose that is to come out."""

ARTICLE = """{{noteTA|G1=Unit|1=zh-hans:青石桥;zh-hant:青石橋}}
{{Infobox bridge
| name = -{zh-cn:青石桥;zh-tw:青石橋}-
| image = [[File:Bridge.jpg|250px|{{nowrap|桥的[[照片]]}}]]
| coordinates = {{coord|30|N|120|E|display=inline,title}}
}}
[[File:Bridge2.jpg|thumb|right|从[[河岸]]看[[石桥|桥]]<ref>某书，第3页</ref>]]
'''青石桥'''（{{lang-en|Bluestone Bridge}}，\
{{bd|1400年|3月1日|1982年|5月6日}}）\
是[[青石镇|镇上]]的一座-{zh-hans:石拱桥;zh-hant:石拱橋}-，\
全长{{convert|46|米}}。\
<ref name="a">{{cite book|title=桥梁史|author=[[某人]]}}</ref><ref name="a" />\
共有七个桥孔{{citation needed}}，\
中间的一个最大，可以通行小船。<!-- 这里需要
来源 -->桥面的石板因为年代久远，已经磨得十分光滑。

== 历史 ==
清代中期曾经由{{link-en|桥梁工程师|Bridge engineer}}重修过一次，见[[地方志 (书)|]]。\
桥头的石碑上刻着[[w:捐款|捐款]]人的姓名和[[数目]]。\
上世纪八十年代，这座桥被列为[[文物保护单位]]，参见[http://a.example/b?c=1 公告]。

{| class="wikitable"
! 年份 !! 事件
|-
| 1400 || [[建成]]
{| class="inner"
| 1982 || 修缮
|}
|}

=== 传说 ===
* 每到''雨夜''，桥下会传来 <math>\\frac{a}{b}</math> 声&nbsp;&mdash;&mdash;老人们这样说。
* -{zh-tw:電腦;zh-cn:电脑}-里存着桥的[[3D模型|-{zh-hans:三维;zh-hant:三維}-模型]]。

=== 空节 ===
{{empty section}}

== 数据 ==
<gallery>
File:a.jpg|一张图
</gallery>

== 参考文献 ==
{{reflist}}
* 某人：《桥梁史》，某某出版社。
=== 书目 ===
* 又一本书。

== 影响 ==
这座桥出现在邮票上。

== 外部链接 ==
* [http://a.example 官方网站]
{{桥梁|state=collapsed}}
[[Category:桥]]
[[en:Bluestone Bridge]]
"""

PROSE = """青石桥（Bluestone Bridge，1400年3月1日－1982年5月6日）是镇上的一座石拱桥，\
全长46米。共有七个桥孔，中间的一个最大，可以通行小船。桥面的石板因为年代久远，已经磨得十分光滑。
历史
清代中期曾经由桥梁工程师重修过一次，见地方志。桥头的石碑上刻着捐款人的姓名和数目。\
上世纪八十年代，这座桥被列为文物保护单位，参见公告。
传说
每到雨夜，桥下会传来 $\\frac{a}{b}$ 声\xa0——老人们这样说。
电脑里存着桥的三维模型。
影响
这座桥出现在邮票上。"""
