"""Rules for a line of a web page: is it written to be read, or menu, label, advertisement, small print?"""

import re

DATE = r'(?:19|20)\d\d\s*[-/.年]\s*\d{1,2}\s*[-/.月]\s*\d{1,2}(?!\d)'
# A line about the page and not of it. Words of lawyers and browsers make one, at any ending …
_LEGAL = (
  '版权所有 版權所有 copyright © all_rights_reserved icp备 icp证 icp證 公网安备 powered_by 转载请注明'
  ' 启用javascript 浏览器不支持 违法和不良信息 免责声明 未经授权 未经书面授权 未经许可'
  ' 不构成投资建议 仅供参考 本站立场 举报邮箱 分辨率浏览 位访客 识别图中'
)
# … so do two words of advertising or guidance in a short line, three in a whole sentence …
_ADVERT = (
  '广告 点击 领取 优惠 限时 抢购 特价 免费 加微信 微信号 公众号 二维码 扫码 关注 红包 速来 名额有限'
  ' 包邮 客服 热线 下载 app 手机版 手机用户 请记住 本站 最新章节 自动跳转 收藏 登录 注册 先到先得 立即 马上'
  ' 长按 购物车 购买 退换 正品 好评 月销 客户端 欢迎光临 欢迎来到'
)
_LEGAL, _ADVERT = ([w.replace('_', ' ') for w in words.split()] for words in (_LEGAL, _ADVERT))
# … and labels with what they label, when they make up most of a short line that ends like no sentence.
_NAMES = (
  '来源 作者 编辑 责编 责任编辑 记者 字体 字号 标签 分类 关键词 栏目 主办单位 承办单位'
  ' 电话 传真 邮编 信箱 版主'
)
_BUTTONS = (
  '首页 网站地图 目录 章节目录 书签 书架 登录 登陆 注册 退出 搜索 更多 点赞 赞 踩 分享 收藏 评论 我要评论'
  ' 回复 回答 举报 投诉 支持 反对 引用 楼主 推荐于 发布时间 发布日期 发布者 发布 更新时间 更新 日期 时间'
  ' 访问量 次数 积分 帖子 会员 类似问题 标签云 友情链接 站内公告 在线留言 联系我们 关于我们 收起 猜你喜欢'
  ' 延伸阅读 跟贴 参与 购物车 累计评价 月销 回到顶部 字体 本页面 最后修订'
)
_LABEL = '|'.join(
  [
    r'(?:当前|您的|你的)?(?:所在)?位置[:：].*|首页\s*[>»›].*|分享到?[:：].*|登录后\S{0,8}',
    r'[上下]一[篇条个][:：]?\s*\S*|[上下前后尾首]一?[章页頁]|欢迎(?:光临|来到|访问)\S*',
    f'(?:{"|".join(_NAMES.split())})[:：]\\s*\\S*',
    r'(?:返回|打印|关闭|热门|推荐|广告|展开)\S{0,2}|(?:网友|相关|最新)\S{2}',
    r'[点阅浏][击读览]量?|发表于?|好评率?|编辑\b',
    *_BUTTONS.split(),
  ]
)
_LABEL = re.compile(_LABEL)
_WORD = re.compile(r'[\w(){}\[\]]')  # brackets alone are lines of code
_STAMP = re.compile(DATE + r'\s*日?|\d+:\d+(?::\d+)?|\d+|[^\w(){}\[\]]+|_+')
APART = re.compile(r'[\s|｜/·•>»›→←、,，\[\]【】]+')
_ENDS = '。！？!?…；;”』」'


def is_noise(line, links=()):
  """Whether a line is menu, label, advertisement or small print.

  `links`: texts of the page's links without what `APART` takes out, the longest first.
  """
  parts = [p for p in APART.split(line) if p]
  joined = ''.join(parts)
  size = len(joined)
  if size > 200:
    return False
  lower = line.lower()
  if size <= 100 and any(word in lower for word in _LEGAL) or not _WORD.search(line):
    return True
  if size <= 60 and (joined in links or sum(word in lower for word in _ADVERT) >= 2 + (line[-1] == '。')):
    return True
  if line[-1] in _ENDS:
    return False
  if 2 * sum(len(p) for p in parts if p in links) > size:
    return True
  if size > 60:
    return False
  for link in links:  # menus whose links stand side by side
    if link in joined:
      joined = joined.replace(link, '')
  rest = _STAMP.sub('', line)
  labels = sum(len(_STAMP.sub('', m[0])) for m in _LABEL.finditer(line))
  return 2 * len(joined) < size or not rest or labels >= 0.4 * len(rest)
