"""Web pages of our own in the shapes that Chinese sites have, each with its body and its noise known.

PAGES  {name: (html, paragraphs of the body, lines of noise)}      EMPTY  {name: html without a body}
"""

import re

_PROSE = """
清晨五点半，菜市场的卷帘门刚刚升起，卖豆腐的老周已经把第一板豆腐端上了案头。他说做豆腐没有秘诀，只是水要好、豆要新、火不能急。
附近的居民习惯了在上班之前绕到这里，买两块热豆腐，再顺手带一把小葱。二十年过去，价钱从五毛涨到了三块，味道却没有变过。
新修的堤坝全长十二公里，能够抵御五十年一遇的洪水。工程队在冬天枯水期抢工，赶在春汛到来之前完成了最后一段护坡的铺设。
水利站的工程师介绍，堤坝内侧种植了三万株柳树，根系可以固定土壤，枝叶又能为沿岸的行人遮阴，算是一举两得的办法。
很多人以为天文观测一定需要昂贵的望远镜，其实一副普通的双筒镜就足以看清木星的四颗卫星，关键在于找到一处足够黑的地方。
观测之前要让眼睛适应黑暗，至少等上二十分钟，期间不要看手机屏幕。记录时可以使用红色的手电，这样不会破坏已经建立的暗视觉。
这座小城的图书馆每到周末都坐满了人，有备考的学生，有翻看旧报纸的老人，也有带着孩子来听故事的年轻父母。
馆长告诉记者，去年借出的图书超过四十万册，其中三成是儿童读物。今年他们打算把闲置的地下室改造成一间小剧场。
他推开门的时候，屋里的灯还亮着，桌上的茶已经凉透。信封压在砚台下面，上面只写了一个字，墨迹却像是刚刚才干。
老掌柜没有抬头，手里的算盘拨得噼啪作响。过了许久他才开口，说那个人三天前就走了，往北，骑的是一匹瘸了腿的青骢马。
雨从后半夜开始下，打在瓦片上像有人撒豆子。他坐在门槛上等天亮，想起十年前也是这样的一场雨，也是这样的一间客栈。
配置文件里的每一项都有默认值，因此刚开始使用时不需要写任何内容。等到确实需要改动某个行为的时候，再把对应的那一项加进去。
程序启动时会先检查目录是否可以写入，如果不能就立即停止并给出原因，这样不会在运行了几个小时以后才发现结果没有保存下来。
种薄荷最怕积水，花盆底部一定要有足够的孔，上面再铺一层碎瓦片。浇水的时候看土面，干透了再浇，宁可少浇也不要多浇。
剪下来的枝条不要扔掉，插在清水里放在明亮的窗台上，大约一个星期就会长出白色的细根，这时候移到土里就是一棵新的植株。
我用这台相机三年了，最满意的是它的手感，最不满意的是电池，冬天在户外拍不到两百张就没电，出门至少要带三块备用。
如果只是拍家人和旅行，我觉得入门的镜头完全够用，省下来的钱不如多出去走几趟，毕竟照片好不好看主要还是看拍的人在哪里。
青石桥建于明代，全长四十六米，共有七个桥孔，中间的一个最大，可以通行小船。桥面的石板因为年代久远，已经磨得十分光滑。
清代中期曾经重修过一次，桥头的石碑上刻着捐款人的姓名和数目。上世纪八十年代，这座桥被列为县级文物保护单位。
各有关单位要高度重视冬季防火工作，落实责任到人，对仓库、学校、医院等重点场所进行一次全面检查，发现问题立即整改。
检查结果应当在本月底之前书面报送办公室，逾期不报的单位将予以通报。联系电话和具体表格见附件，请自行下载填写。
""".strip().split('\n')


def _p(*numbers):
  return [_PROSE[n] for n in numbers]


def _join(paragraphs, form='<p>{}</p>'):
  return '\n'.join(form.format(p) for p in paragraphs)


_LINKS = ['国内新闻', '国际新闻', '体育频道', '财经频道', '娱乐八卦', '汽车之窗', '房产信息', '旅游天地']
_NAV = ''.join(f'<li><a href="/c{i}/">{t}</a></li>' for i, t in enumerate(_LINKS))
_MORE = ['一夜暴雨之后城区交通恢复', '高考报名今日正式开始', '五种水果最好不要空腹吃', '老城区改造方案公布']
_RELATED = ''.join(f'<li><a href="/n/{i}.html">{t}</a></li>' for i, t in enumerate(_MORE))
_ICP = '版权所有 © 2019 小城在线 京ICP备00000000号'


def _article():
  body = _p(0, 1, 6, 7)
  html = f"""<!DOCTYPE html><html lang="zh"><head><meta charset="utf-8"><title>菜市场的早晨_小城在线</title>
<meta property="article:published_time" content="2021-03-05T08:00:00+08:00"></head><body>
<header><nav><ul>{_NAV}</ul></nav></header><main><article><h1>菜市场的早晨</h1>
<div class="meta"><span>发布时间：2021-03-05</span> <span>阅读量：1024</span></div>{_join(body)}
</article><aside><h3>相关阅读</h3><ul>{_RELATED}</ul></aside></main><footer>{_ICP}</footer></body></html>"""
  return html, body, [*_LINKS, *_MORE, '阅读量', _ICP]


def _divs():
  body = _p(2, 3, 7)
  ads = ['【广告】点击领取百元优惠券，限时抢购，先到先得！', '加微信免费领取内部资料，名额有限，速来！']
  html = f"""<html><head><meta charset="utf-8"><title>新堤坝完工 - 小城在线</title></head><body>
<div id="top"><a href="/">首页</a> | <a href="/login">登录</a> | <a href="/reg">注册</a></div>
<div class="path">当前位置：<a href="/">首页</a> &gt; <a href="/news">新闻</a> &gt; 正文</div>
<div class="main"><h2>新堤坝完工</h2><div class="info">来源：小城在线 作者：李明 2020年11月02日</div>
<div class="text"><div>{body[0]}</div><div class="ad">{ads[0]}</div><div>{body[1]}</div><div>{ads[1]}</div>
<div>{body[2]}</div></div><div class="share">分享到：微信 微博 QQ空间</div>
<div class="pn">上一篇：<a href="1">路灯更换完毕</a> 下一篇：<a href="2">春季植树活动</a></div></div>
<div class="list"><ul>{_RELATED}</ul></div><div class="foot">{_ICP}</div></body></html>"""
  return html, body, [*ads, *_MORE, '当前位置', '分享到', '上一篇', _ICP, '登录']


def _tables():
  body = _p(4, 5, 17, 18)
  text = '<br><br>'.join(f'&nbsp;&nbsp;&nbsp;&nbsp;{p}' for p in body)
  cells = ''.join(f'<td><a href={i}.htm><font size=2>{t}</font></a></td>' for i, t in enumerate(_LINKS))
  html = f"""<html><head><meta http-equiv="Content-Type" content="text/html; charset=gb2312">
<title>双筒镜看星星</title></head><body bgcolor=#ffffff><center><table width=760 border=0><tr>{cells}</tr>
</table>
<table width=760><tr><td width=160 valign=top><font color=red>站内公告</font><br>
<a href=a.htm>在线留言</a><br>
<a href=b.htm>友情链接</a><br></td><td><font size=4><b>双筒镜看星星</b></font><br><hr>
<font size=2>{text}</font><br></td></tr></table><font size=2>{_ICP}<br>本站访问量：88231</font></center>
</body></html>"""
  return html, body, [*_LINKS, '站内公告', '在线留言', '友情链接', _ICP, '本站访问量']


def _steps():
  body = _p(13, 14, 11, 12)
  html = f"""<html><head><meta charset="utf-8"><title>薄荷怎么种|生活百科</title></head><body>
<div class="nav">
<ul>{_NAV}</ul></div><div class="box"><h1>薄荷怎么种</h1><ol>{_join(body, '<li>{}</li>')}</ol></div>
<div class="hot"><h4>热门推荐</h4><ul>{_RELATED}</ul></div><div>{_ICP}</div></body></html>"""
  return html, body, [*_LINKS, *_MORE, '热门推荐', _ICP]


def _forum():
  body = _p(15, 16, 5)
  names = ['远山', '阿北', '老树']
  posts = ''.join(
    f'<div class="post"><div class="user"><a href="/u/{i}">{n}</a><br>积分：{i}20<br>'
    f'注册时间 2012-5-{i + 1}</div><div class="head">{i + 1}楼 发表于 2018-6-{i + 1} 21:15</div>'
    f'<div class="body">{p}</div>'
    f'<div class="act"><a>回复</a> <a>举报</a> <a>支持</a></div></div>'
    for i, (n, p) in enumerate(zip(names, body, strict=True))
  )
  html = f"""<html><head><meta charset="utf-8"><title>这台相机值得买吗 - 摄影论坛</title></head><body>
<div class="hd"><a href="/">论坛首页</a> <a href="/l">登录</a> <a href="/r">注册会员</a></div>
<h1>这台相机值得买吗</h1>
{posts}<div class="pg"><a>上一页</a> <a>1</a> <a>2</a> <a>下一页</a></div><p>Powered by Forum X3.4</p>
</body></html>"""
  return html, body, ['积分：', '注册时间', '发表于', '举报', '上一页', '注册会员', 'Powered by']


def _chapter():
  body = _p(8, 9, 10)
  html = f"""<html><head><meta charset="utf-8"><title>第三章 青骢马_旧客栈_某某小说网</title></head><body>
<div class="con_top"><a href="/">某某小说网</a> &gt; <a href="/b/1/">旧客栈</a> &gt; 第三章 青骢马</div>
<div class="bookname"><h1>第三章 青骢马</h1><div>
<a>上一章</a> ← <a>章节目录</a> → <a>下一章</a> <a>加入书签</a></div></div>
<div id="content">{'<br/><br/>'.join('&nbsp;&nbsp;' + p for p in body)}<br/><br/>
最新章节请记住本站网址，手机用户请到手机版阅读。</div>
<div class="bottem"><a>上一章</a> <a>章节目录</a> <a>下一章</a></div></body></html>"""
  return html, body, ['上一章', '章节目录', '加入书签', '请记住本站网址']


def _blog():
  body = _p(11, 12, 6)
  html = f"""<html><head><meta charset="utf-8"><title>配置的学问</title></head><body class="wp">
<div id="page">
<div id="sidebar"><h3>最新文章</h3><ul>{_RELATED}</ul><h3>标签云</h3><a>编程</a> <a>读书</a> <a>随笔</a>
</div>
<div id="main"><div class="entry"><h2>配置的学问</h2>
<p class="byline">2019年6月1日 | 分类：<a>编程</a> | 评论(3)</p>
<h3>默认值</h3><p>{body[0]}</p><pre><code>size = 4</code></pre><h3>早失败</h3><p>{body[1]}</p>
<p>{body[2]}</p></div>
<div id="comments"><h3>发表评论</h3><form><input name="n"><textarea></textarea><button>提交评论</button>
</form></div>
</div></div><div id="footer">Copyright 2019 某人的博客 All Rights Reserved</div></body></html>"""
  return html, body, [*_MORE, '标签云', '发表评论', '提交评论', 'All Rights Reserved', '评论(3)']


def _answers():
  body = _p(13, 14, 16)
  replies = ''.join(
    f'<div class="a"><span>热心网友 推荐于2016-04-0{i + 1}</span><div>{p}</div>'
    f'<div><a>赞</a> <a>踩</a> <a>评论</a> <a>分享</a></div></div>'
    for i, p in enumerate(body)
  )
  html = f"""<html><head><meta charset="utf-8"><title>薄荷叶子发黄怎么办_问答</title></head><body>
<div class="bar"><a>首页</a><a>问题</a><a>全部问题</a><a>娱乐休闲</a><a>游戏</a></div><div class="q">
<h1>薄荷叶子发黄怎么办</h1>
<span>浏览 3021 次</span></div>{replies}
<div class="side"><dl><dt>其他类似问题</dt>{_RELATED}</dl></div><p>登录后回答问题可以得积分</p></body>
</html>"""
  return html, body, [*_MORE, '娱乐休闲', '推荐于', '浏览 3021', '其他类似问题', '登录后回答']


def _encyclopaedia():
  body = _p(17, 18, 2)
  html = f"""<html><head><meta charset="utf-8"><title>青石桥 - 小百科</title></head><body>
<div id="content"><h1>青石桥</h1>
<table class="infobox"><tr><th>位置</th><td>青石镇</td></tr><tr><th>建成</th><td>明代</td></tr></table>
<p>{body[0]}</p>
<div id="toc"><h2>目录</h2><ul><li><a href="#1">1 历史</a></li><li><a href="#2">2 参见</a></li></ul></div>
<h2>历史<span>[<a>编辑</a>]</span></h2><p>{body[1]}<a href="/x">青石镇</a>志中有详细的记载。</p>
<p>{body[2]}</p></div>
<div id="nav"><a>随机条目</a> <a>最近更改</a> <a>特殊页面</a></div>
<div>本页面最后修订于2015年。 {_ICP}</div></body></html>"""
  return html, body, ['随机条目', '最近更改', '1 历史', _ICP]


def _notice():
  body = _p(19, 20)
  html = f"""<html><head><meta charset="utf-8"><title>关于做好冬季防火工作的通知</title></head><body>
<table width="100%">
<tr><td><a>网站首页</a></td><td><a>政务公开</a></td><td><a>办事指南</a></td><td><a>互动交流</a></td></tr>
</table>
<table><tr><td align="center"><b>关于做好冬季防火工作的通知</b></td></tr><tr>
<td>发布日期：2017-12-01 字体：【大 中 小】</td></tr>
<tr><td>{_join(body, '<p style="text-indent:2em"><span>{}</span></p>')}</td></tr>
<tr><td>【打印本页】 【关闭窗口】</td></tr></table><div>主办单位：某县办公室 {_ICP}</div></body></html>"""
  return html, body, ['政务公开', '办事指南', '字体：', '打印本页', '主办单位', _ICP]


def _mobile():
  body = _p(0, 1)
  html = f"""<html><head><meta name="viewport" content="width=device-width"><title>豆腐</title></head>
<body><div>
<div><a href="/app">打开APP，阅读体验更佳</a></div><section><div><span>{body[0]}</span></div><div>
<span>{body[1]}</span></div>
</section><div>展开全文</div><div><a>点赞 12</a><a>收藏</a></div>
<div>扫描二维码，关注我们的微信公众号，每天领取惊喜红包！</div>
<div>{''.join(f'<div><a href="{i}">{t}</a></div>' for i, t in enumerate(_MORE))}</div></div></body>
</html>"""
  return html, body, [*_MORE, '打开APP', '展开全文', '点赞 12', '扫描二维码']


def _verse():
  body = ['山后的雪还没有化', '风已经学会了轻声说话', '我在空白的信纸上', '替你画一条回家的河']
  body += ['河水不急', '月亮也不急', '只有昨夜的灯', '一直站在窗前等着', '却认得每一个晚归的人']
  html = f"""<html><head><meta charset="utf-8"><title>等灯</title></head><body><div class="menu">
<ul>{_NAV}</ul></div>
<div class="poem"><h1>等灯</h1>{'<br>'.join(body)}</div><div class="footer">{_ICP}</div></body></html>"""
  return html, body, [*_LINKS, _ICP]


_SHAPES = [_article, _divs, _tables, _steps, _forum, _chapter]
_SHAPES += [_blog, _answers, _encyclopaedia, _notice, _mobile, _verse]
PAGES = {shape.__name__[1:]: shape() for shape in _SHAPES}

_HOME = ''.join(f'<h3>{t}</h3><ul>{_RELATED}</ul>' for t in ('要闻', '社会', '科技', '健康'))
_BODY = _join(_p(0, 1, 2, 3))
EMPTY = {
  'portal': f'<html><title>小城在线</title><body><ul>{_NAV}</ul>{_HOME}<p>{_ICP}</p></body></html>',
  'script': f'<html><head><script>var s = "{_BODY}"; document.write(s)</script></head><body></body></html>',
  'noscript': '<html><body><div id="app"></div><noscript>请启用JavaScript后继续浏览。</noscript></body>',
  'frames': '<html><frameset><frame src="a.htm"><noframes>浏览器不支持框架</noframes></frameset></html>',
  'refresh': '<head><meta http-equiv="refresh" content="0;url=/b"></head>请<a href="/">点击这里</a>。',
  'no body': '<html><head><title>只有标题</title></head></html>',
  'english': '<html><body><p>' + 'This page has no Chinese at all in it. ' * 40 + '</p></body>',
}


def squeeze(text):
  """The text without white space."""
  return re.sub(r'\s+', '', text or '')


def score(texts):
  """(share of body found, share of noise found) of {name: text or None} over PAGES."""
  body = noise = all_body = all_noise = 0
  for name, (_, paragraphs, lines) in PAGES.items():
    text = squeeze(texts[name])
    body += sum(squeeze(p) in text for p in paragraphs)
    noise += sum(squeeze(n) in text for n in lines)
    all_body, all_noise = all_body + len(paragraphs), all_noise + len(lines)
  return body / all_body, noise / all_noise
