"""Words that the planner knows by itself, in English and Chinese: function words, media, languages, units.

What a tool is called belongs to the registry; only what is common to all registries stands here.
"""

from __future__ import annotations

__all__ = [
    "LANGUAGES",
    "MEDIA_EN",
    "MEDIA_ZH",
    "NOUNS_ZH",
    "NUMBERS_EN",
    "NUMBERS_ZH",
    "STOP_EN",
    "STOP_ZH",
    "UNITS_ZH",
    "media_of_type",
]


def _words(text: str) -> list[str]:
    return text.split()


STOP_EN = frozenset(
    _words(
        """
        a about after again all also am an and any are as at be been before both but by can could did do does each
        every everything few first for from get give given go had has have he her here him his how i if in into is
        it its just last let like look make many may me more most much my need next no nor not now of off on once
        one ones only or other our out over own per please put same she should so some such take tell than that the
        their them then there these they this those through to too under until up us use used using very via want
        was we were what when where whether which while who whom whose why will with within without would you your
        new old finally lastly afterwards follow followed result results output outputs input inputs file files
        folder set sets batch bunch thing things work run perform apply show provide produce create help away back
        down
        """
    )
)
"""English words that carry no meaning of a tool."""

STOP_ZH = _words(
    "进行 帮我 帮忙 麻烦 请你 我们 他们 你们 大家 这些 那些 这个 那个 这篇 这段 这份 一下 "
    "一些 一批 一篇 一份 一张 一个 一段 一种 每张 每个 每篇 每份 每段 每条 所有 全部 各个 "
    "分别 统一 可以 需要 想要 希望 能够 应该 如果 因为 所以 但是 而且 并且 以及 同时 然后 "
    "接着 随后 之后 之前 最后 首先 其中 里面 有没有 是不是 是否 什么 怎么样 怎么 哪些 多少 "
    "还是 或者 结果 文件 内容 一起 太多 很多 很大 太大 看看 看一看 请 把 将 被 的 了 着 过 吗 "
    "呢 吧 啊 我 你 他 她 它 这 那 些 和 与 或 及 并 再 先 后 给 对 从 在 是 有 里 中 上 下 "
    "到 为 以 让 使 其 各 每 都 也 还 就 很 太 想 能 会 可 用 一 几 两 个 张 篇 份 段 条 种 "
    "次 批 点"
)
"""Chinese function words and measure words; the longer ones are removed first."""

MEDIA_EN: dict[str, str] = {
    **dict.fromkeys(
        _words(
            "image picture photo photograph snapshot screenshot scan pic shot drawing jpg jpeg png "
            "gif tiff bmp webp"
        ),
        "image",
    ),
    **dict.fromkeys(_words("video movie film clip footage mp4 mov avi mkv webm"), "video"),
    **dict.fromkeys(_words("audio recording podcast voicemail sound soundtrack speech wav mp3 flac ogg"), "audio"),
    **dict.fromkeys(
        _words(
            """document text article paper essay letter email message book note story manual review comment contract
        txt markdown"""
        ),
        "text",
    ),
    **dict.fromkeys(_words("table spreadsheet csv excel dataset row column"), "table"),
}
"""Nouns that name a kind of file, by the kind."""

MEDIA_ZH: dict[str, str] = {
    **dict.fromkeys(_words("图片 照片 图像 相片 截图 画面 相册 扫描件 图"), "image"),
    **dict.fromkeys(_words("视频 录像 电影 影片 短片"), "video"),
    **dict.fromkeys(_words("音频 录音 语音 播客 声音 音轨"), "audio"),
    **dict.fromkeys(
        _words("文档 文章 文本 论文 文字 文字稿 新闻 评论 评价 邮件 书籍 小说 稿件 合同 资料 信件"),
        "text",
    ),
    **dict.fromkeys(["表格", "数据表", "数据集", "电子表格"], "table"),
}
"""The same in Chinese."""

LANGUAGES: dict[str, tuple[str, ...]] = {
    "en": ("english", "英语", "英文", "英"),
    "zh": ("chinese", "mandarin", "汉语", "中文", "中", "汉"),
    "de": ("german", "德语", "德文", "德"),
    "fr": ("french", "法语", "法文", "法"),
    "es": ("spanish", "西班牙语", "西班牙文", "西语"),
    "ja": ("japanese", "日语", "日文", "日"),
    "ko": ("korean", "韩语", "韩文", "韩"),
    "ru": ("russian", "俄语", "俄文", "俄"),
    "it": ("italian", "意大利语", "意大利文"),
    "pt": ("portuguese", "葡萄牙语", "葡萄牙文"),
}
"""Names of languages by their ISO 639-1 code; single Chinese characters count only beside 译."""

NUMBERS_EN = {
    **{word: float(i) for i, word in enumerate(_words("zero one two three four five six seven eight nine ten"))},
    "eleven": 11.0,
    "twelve": 12.0,
    "fifteen": 15.0,
    "twenty": 20.0,
    "thirty": 30.0,
    "fifty": 50.0,
    "hundred": 100.0,
    "half": 0.5,
    "twice": 2.0,
    "double": 2.0,
    "triple": 3.0,
    "quadruple": 4.0,
}
"""Numbers in words."""

NUMBERS_ZH = {"半": 0.5, "一": 1.0, "二": 2.0, "两": 2.0, "三": 3.0, "四": 4.0, "五": 5.0, "六": 6.0, "七": 7.0} | {
    "八": 8.0,
    "九": 9.0,
    "十": 10.0,
}
"""The same in Chinese; 十 also combines (二十, 十五)."""

UNITS_ZH = {
    "倍": "times",
    "句": "sentence",
    "秒": "second",
    "像素": "pixel",
    "帧": "frame",
    "组": "group",
    "类": "group",
    "簇": "cluster",
    "个关键词": "keyword",
    "个词": "keyword",
    "字": "word",
    "个字": "word",
    "分钟": "minute",
}
"""Units after a number, by the English word that argument descriptions use."""

NOUNS_ZH = {
    "人脸": "face",
    "脸": "face",
    "眼睛": "eye",
    "笑": "smile",
    "猫": "cat",
    "狗": "dog",
    "全身": "body",
    "上半身": "upper_body",
    "段落": "paragraph",
    "文档": "document",
    "中位数": "median",
    "均值": "mean",
    "平均值": "mean",
    "标题": "title",
    "问题": "question",
}
"""Chinese words for values that argument schemas list in English."""

_TYPES = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "text/csv": "table",
    "text/html": "page",
    "text/tab-separated-values": "table",
    "application/vnd.ms-excel": "table",
    "application/jsonl": "records",
    "application/json": "records",
    "text": "text",
}


def media_of_type(media_type: str) -> str:
    """The kind of a media type: image, video, audio, text, table, records, else the type itself."""
    return _TYPES.get(media_type) or _TYPES.get(media_type.partition("/")[0]) or media_type
