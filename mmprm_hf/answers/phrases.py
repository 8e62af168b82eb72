"""Words of running text around answers: what ends a sentence, joins two things, denies, concludes, asserts.

What asserts is a whitelist: nouns that a value can be the value of, verbs that state a quantity, clauses that change
nothing. Standard library only.
"""

from __future__ import annotations

import re


def _any_of(words: str) -> str:
    return "|".join(sorted(words.split(), key=len, reverse=True))


SENTENCE_END = re.compile(
    r"(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bMrs)(?<!\bSt)(?<!\bvs)(?<![\d\s])[.!?](?=\s+[^\sa-z]|\s*$)"
    r"|(?<=\d)\.(?=\s+[^\sa-z\d]|\s*$)|。|\n\s*\n"
)
JOINT = re.compile(
    r"(?<=\d)(?:and|or)(?=\d)|\band\b|\bor\b|[、和与或]|\\(?:text|quad)?(?:and|or)\b|\\(?:lor|vee|land|wedge)(?![A-Za-z])"
)
DENIAL = re.compile(
    r"\b(?:not?|never|cannot|neither|nor|without|non(?!-?(?:zero|negative)))\b|n['’]t\b|[没无非未]|不(?!同|等式)",
    re.IGNORECASE,
)
HYPOTHESIS = re.compile(r"\b(?:if|unless|suppos\w+|assum\w+)\b|如果|假设|若", re.IGNORECASE)
_DOUBTS = r"""
    wrong(?:ly)? incorrect(?:ly)? false untrue mistak\w+ errors? erroneous\w* invalid rejects? rejected extraneous
    spurious exclud\w+ except impossible fail\w* discard\w* eliminat\w+ ruled? contradict\w+ misread\w* but however
    although though whether would could might may should perhaps maybe possibly probably likely guess\w* doubt\w*
    instead rather other another else previous\w* than nearly almost roughly hypothe\w+ pretend\w* imagine distractors?
    initially originally earlier before beginning yesterday already at\sfirst used\sto
    counterexamples? wait trap too short at\smost at\sleast up\sto off\sby in\sbase
"""
DOUBT = re.compile(
    rf"{DENIAL.pattern}|{HYPOTHESIS.pattern}|\b(?:{_any_of(_DOUBTS)})\b|\?\s*$"
    r"|(?:['’]s|\b(?:his|her|their|your))\s+(?:\w+\s+)?(?:answer|result|solution)\b"
    r"|\b(?:of|from|to) the (?:\w+ )?answer\b|[错假误猜另旧每]|已经|可能|大约|约为|至少|至多|最多|超过|不足"
    r"|排除|除了|以外|舍去|估计|其他|原来|近似|上一|别人|底数|指数|倒数|反数|倍数"
    r"|(?:[他她]|小[\u4e00-\u9fff]|学生|同学|有人)[^,，。]{0,6}(?:认为|以为|觉得|说|写|猜|算|答|解法|结果)",
    re.IGNORECASE,
)
"""Words of a sentence that may retract, condition or compare what it states."""

_DETERMINERS = "le la the a an our his her its their your my this that both all"
_ADJECTIVES = """
    final correct right required desired resulting overall total whole entire new current exact numerical possible
    greatest largest biggest maximum maximal minimum minimal least smallest lowest highest longest shortest positive
    average mean common sought missing unknown remaining first second third last real natural integer prime even odd
    distinct different unique only simplified surface lateral shaded annual monthly daily weekly hourly horizontal
    vertical combined expected general particular special zero identity three-digit two-digit coût
"""
_HEADS = """
    answer answers result results solution solutions value values number numbers total sum difference product quotient
    remainder ratio probability chance percentage percent fraction area perimeter circumference volume length width
    height depth distance radius diameter angle angles measure measures slope gradient intercept coordinate coordinates
    point points vertex center centre range domain function equation expression formula matrix vector determinant rank
    limit derivative integral sequence term terms coefficient coefficients constant degree root roots zeros speed
    velocity acceleration force mass weight time duration age cost price profit revenue amount charge salary mean
    median mode variance deviation maximum minimum count size capacity temperature energy pressure density frequency
    digit integer set interval side sides hypotenuse diagonal altitude midpoint asymptote line conclusion option choice
    réponse coût final
"""
_VERBS = """
    need needs needed take takes took has have had cost costs ran run runs walk walks walked travel travels traveled
    travelled pay pays paid spend spends spent save saves saved earn earns earned make makes made get gets got receive
    receives received sell sells sold buy buys bought weigh weighs weighed contain contains contained eat eats ate read
    reads drive drives drove gain gains gained collect collects collected use uses used catch catches caught count
    counts counted produce produces produced give gives gave score scores scored lose loses lost last lasts lasted owe
    owes owed raise raises raised drink drinks drank bake bakes baked sleep sleeps slept work works worked swim swims
    swam grow grows grew build builds built write writes wrote plant plants planted finish finishes finished
    keep keeps kept
"""
_CHINESE_HEADS = """
    答案 结果 解 值 和 差 积 商 比 率 面积 周长 体积 容积 长 长度 宽 宽度 高 高度 半径 直径 角 度数 斜率 距离 时间 速度
    数 个数 总数 人数 数量 总和 总量 重 重量 体重 质量 价 价格 价钱 费 费用 额 钱 利润 年龄 坐标 概率 最大值 最小值
    边长 路程 方程 解析式
"""
_CHINESE_VERBS = "共有 一共有 总共有 一共 共 总共 有 还有 还剩 剩下 需要 需 赚了 卖出了 花了 用了 得到 可得 等于"
_CONCLUSIONS = "therefore thus hence so consequently finally conclusion"
# What is derived from an answer, or is only a part of its way: its square is 25.
_DERIVED = """
    reciprocal inverse opposite negation negative square cube squared cubed double half twice triple quarter multiple
    multiples factor factors divisor divisors base exponent power powers logarithm complement supplement conjugate
    step steps part case premise guess estimate bound bounds
    previous next wrong old initial original
"""
CONCLUSION = re.compile(
    rf"(?:^|[,;:，；：.]\s*|\s(?=[A-Z所因])|\b(?:and|which means|that means)\s+)"
    rf"(?:(?:in\s+)?(?:\b(?:{_any_of(_CONCLUSIONS)})\b|所以|因此|于是|从而|综上(?:所述|可知)?|故"
    r"|we (?:get|find|obtain|conclude)\b|(?<=[,，])得)\s*[,:，：]?\s*(?:that\b\s*)?)+|\s(?:gives|yields)\s+",
    re.IGNORECASE,
)
LEAD_IN = re.compile(
    r"(?:(?:we|you|i) (?:get|find|have|obtain|conclude|see)(?: that)?|it follows that"
    r"|this (?:means|shows|gives)(?: that)?|in (?:total|all|conclusion|summary|(?:an?|one) \w+),"
    r"|(?:altogether|together|overall|now),?|then,?|i think|答[:：]|可[得知][,，:：]?|解得|由此|"
    r"(?:after|since|because|given|by|counting|rounded)\b[^,，]*,(?=\s))\s*",
    re.IGNORECASE,
)
COPULA = re.compile(
    r"\s*(?:\b(?:is|are|was|were|equals?|becomes?|(?:is|are) (?:equal to|exactly)|occurs at|amounts? to|will be"
    r"|must be|est(?: donc)?(?: de)?)\b:?"
    r"|=|[为是]|等于|:(?=\s)|：)\s*",
    re.IGNORECASE,
)
_COMPLEMENT = (
    r"[\ue000-\uf8ff]|(?:of|in|for|to|that|which|who|between|from|with|when|on|at|by|under|needed|the|she|he|they|we)\b"
)
# What states a value of its own inside a subject; "when T is 3" does not.
_STATES = r"(?<!when .)(?<!if .) (?:is|are|was|were|equals?) [-\d\ue000-\uf8ff]|(?<!when . )(?<!if . )="
SUBJECT = re.compile(
    r"(?:it|this|that|these|those|they|he|she|[A-Za-z](?:_\w+)?|[A-Z]{2,3}|[\ue000-\uf8ff]"
    rf"|(?:here (?:is|are) )?(?:(?:{_any_of(_DETERMINERS)})\s+)?(?:[A-Z][a-z]+['’]s\s+)?"
    rf"(?:(?:{_any_of(_ADJECTIVES + _HEADS)})\s+)*(?:{_any_of(_HEADS)})"
    rf"(?:\s+(?:{_COMPLEMENT})(?:(?!{_STATES}).)*)?"
    rf"|(?:the|this|that|its|their|our|his|her)\s+"
    rf"(?!(?:(?!(?:of|in|for|with|that|which)\b)[a-z'-]+\s+){{0,5}}?(?:{_any_of(_DERIVED)})\b)"
    rf"(?:(?!(?:is|are|was|were|be)\b)[a-z'-]+\s+){{0,5}}?(?!(?:is|are|was|were|be)\b)[a-z'-]+(?:\s+(?:{_COMPLEMENT})(?:(?!{_STATES}).)*)?"
    rf"|[A-Z][a-z]+['’]s [a-z]+|[^,，;；]{{0,60}}?(?:{_any_of(_CHINESE_HEADS)}))",
    re.IGNORECASE | re.DOTALL,
)
THERE_ARE = re.compile(r"(?:in total,? )?there (?:is|are|were|will be) (?:a total of |exactly |only )?", re.IGNORECASE)
_ACTOR = (
    r"(?:(?i:it|they|he|she|we|you|i)|[A-Z][a-z]+(?:, [A-Z][a-z]+)*(?:,? and [A-Z][a-z]+)?"
    r"|(?i:each|his|her|their|its) [a-z]+"
    r"|[Tt]he (?!answer|number|result|solution|value)(?:[a-z]+ ){0,3}?[a-z]+)"
)
HAS = re.compile(
    rf"{_ACTOR}\s+(?:(?:must|will|can|finally|now|still|needs? to|has to|have to|had to)\s+)*(?:{_any_of(_VERBS)})\s+"
    r"(?:[A-Z][a-z]+\s+|him\s+|her\s+|them\s+)?(?:exactly |only |a total of )?"
    rf"|{_ACTOR}\s+(?:is|are|was|will be)\s+(?:now\s+)?(?=\S+ (?:years?|months?|weeks?|days?) old$)"
    rf"|[^,，\d]{{0,60}}?(?:{_any_of(_CHINESE_VERBS)})\s*"
)
IS_THE_ANSWER = re.compile(
    r"\s+(?:is|are)\s+(?:the|our|my)\s+(?:final |correct |right |required |only )?(?:answer|solution|result|value)s?$",
    re.IGNORECASE,
)
QUANTITY = re.compile(
    r"(?P<value>[\ue000-\uf8ff]|[-−]?[$€£¥]?\d[\d,]*(?:\.\d+)?%?|[a-z]+(?:-[a-z]+)?)"
    r"(?P<noun>(?:\s+[a-z]+){0,3}?)(?:\s+(?P<tail>(?:left|to|that|who|which|in|on|for|of|the|such|from|a|an|per|every|during|after|with"
    r"|at|by|this|together|combined|remaining|old|available)\b.*))?$",
    re.IGNORECASE | re.DOTALL,
)
NEEDED = re.compile(
    r"(?:^|, and )(\S+(?: [a-z]+){0,4}) (?:are|is|was|were) (?:needed|required|left)(?: (?:to|for) .*)?$", re.DOTALL
)
NEUTRAL_END = re.compile(
    r",?\s+(?:of (?:them|these|those)(?: left)?|as (?:required|desired|expected|(?:was )?claimed|needed|shown|stated)"
    r"|in total|in all|altogether|all together|left|respectively"
    r"|(?:under|given|with) the (?:given )?(?:conditions|constraints)"
    r"|(?:occurring|attained|achieved|reached|because|since)\b.*"
    r"|to the nearest (?:tenth|hundredth|thousandth|whole number|integer|degree|cent|dollar))$",
    re.IGNORECASE,
)
NEUTRAL_SENTENCE = re.compile(
    r"\s*(?:i hope (?:it|this) is correct|that is all|that['’]s all|done|this is (?:the|our|my) (?:final )?answer"
    r"|this (?:function|value|result|conclusion|covers|matches|completes|follows|means|is because)\b[^.]*)\s*",
    re.IGNORECASE | re.DOTALL,
)
CHINESE_COUNT = re.compile(
    r"(?P<number>(?:[^=\u4e00-\u9fff]+=\s*)?[-\d.,]+|[零〇一二两三四五六七八九十百千万亿]+)\s*"
    r"(?:个|只|颗|本|条|张|件|支|枝|头|匹|辆|块|名|位|人|岁|种|袋|箱|盒|瓶|杯|朵|棵|次|页|美元|道|组|节|间|座|艘|架|根|片|把|份|周)"
    r"[^\x00-\x7f以上下内外左右前后多余半倍的之中第不每分几者或]{0,6}"
)
CONDITION = re.compile(r"\bfor (?:all|any|every|each)\b")
"""What follows restricts an answer: x = 1 for all even n."""
ORDERED = re.compile(r"\brespectively\b|依次|分别")
"""What says that the order of several values counts."""
_TERM = r"\(?[$€£]?\d[\d,]*(?:\.\d+)?%?\)?(?: ?(?!x\b)[A-Za-z]+(?:/[A-Za-z]+)?){0,3}\)?"
ARITHMETIC = re.compile(
    rf"(?P<sum>{_TERM}(?:\s*[-+*/×÷x]\s*{_TERM}){{1,9}})\s*=\s*(?P<value>[$€£]?\d[\d,]*(?:\.\d+)?)(?![\d^/*])"
)
"""A sum with its value: 22 red + 66 blue = 88."""
