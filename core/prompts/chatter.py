"""Removes a text model's remarks to the user before and after a prompt.

The patterns cover several languages. A word that may also begin a prompt counts as a remark only if it is
followed by punctuation or a line end, as in "Sure!" or "Here is the prompt:".
"""

from __future__ import annotations

import re

# Words around "prompt" in a title, as in "Enhanced image prompt".
_QUALIFIER = "|".join((
    r"enhanced|improved|final|image|revised|optimi[sz]ed|refined|detailed|rewritten|updated|expanded|polished",
    r"new|your|the|my|ai|art|full|complete|text-to-image|generation",
    r"dein|ihr|verbesserter?|überarbeiteter?|finaler?|erweiterter?|optimierter?",
    r"votre|amélioré|optimisé|enrichi|révisé",
    r"tu|su|mejorado|optimizado|revisado|seu|melhorado|aprimorado|otimizado",
    r"tuo|migliorato|ottimizzato|finale|rivisto",
    r"улучшенный|итоговый|финальный|готовый|обновл[её]нный|향상된|개선된|최종|강화된",
))  # fmt: skip
_PROMPT_WORD = (
    r"(?:prompts?|промпт|프롬프트|"
    r"(?:增强|增強|优化|優化|改进|改進|最终|最終|完整|强化|強化|改善|改良|完成)?(?:后|後|版|された|した)?[的の]?"
    r"(?:图像|圖像|画像)?(?:生成)?(?:提示[词詞語语]|プロンプト))"
)
_TITLE = (
    rf"(?:(?:(?:{_QUALIFIER})[ _-]){{0,4}}{_PROMPT_WORD}(?:[ _-](?:{_QUALIFIER})){{0,2}}|"
    r"(?:enhanced|improved|final|revised|refined) version|(?:variation|version) \d{1,2})"
    r"(?: ?[(（][^()（）\n]{0,40}[)）])?"
)
# Words that present what follows, and words that agree to the task.
_PRESENTING = "|".join((
    r"(?:here(?:.s| is| are)|below is|hier (?:ist|sind|kommt)|voici|ecco)\b",
    r"(?:aquí (?:tienes|está|va)|aqui (?:está|vai)|вот)\b",
    r"以下|这是|這是|こちら|다음은|여기",
))  # fmt: skip
_AGREEING = "|".join((
    r"sure|certainly|of course|absolutely|okay|ok|alright|great|gladly|got it|understood",
    r"natürlich|gerne?|klar|selbstverständlich|bien sûr|certainement|d'accord",
    r"claro|por supuesto|com certeza|certo|certamente|конечно|хорошо",
    r"好的|当然|當然|はい|もちろん|承知(?:いた)?しました|かしこまりました|물론(?:입니다|이죠)?|네|알겠습니다",
))  # fmt: skip
_WRITTEN = "enhanced|improved|rewritten|expanded|refined|polished|reworked"
_COLON, _LINE_END = r"[:：][*_ \t]*", r"[*_ \t]*\n"
_ORNAMENTS = "✨🎨📝🖼\ufe0f"
_INTRODUCTIONS = (
    # The role of the message, if the service has removed the control tokens around it.
    rf"assistant[:：]?{_LINE_END}",
    # A first line that ends with a colon.
    rf"(?:{_PRESENTING}|(?:sure|certainly|of course)\b|(?:{_AGREEING})[,.!:，。！])[^\n]{{0,200}}{_COLON}\n",
    # "I can't draw this character, but here's another prompt:"
    rf"[^\n]{{0,200}}\bhere(?:.s| is| are)\b[^\n]{{0,120}}{_COLON}\n",
    # "Certainly!"
    rf"(?:{_AGREEING})(?: thing)?[!.,。！，、…]{{0,3}}{_LINE_END}",
    # "Sure! I've enhanced your prompt with more detail."
    rf"(?:(?:{_AGREEING})[!.,] )?i(?:.ve| have) (?:now )?(?:{_WRITTEN})\b[^\n]{{0,200}}{_LINE_END}",
    # "Here is the enhanced prompt: ", with the prompt on the same line.
    rf"(?:{_PRESENTING}|(?:{_AGREEING})\b)[^\n:：]{{0,120}}(?:version|{_PROMPT_WORD})[^\n:：]{{0,40}}{_COLON}",
)
_INTRODUCTION = re.compile(rf"\A[*_> ¡{_ORNAMENTS}]{{0,4}}(?:{'|'.join(_INTRODUCTIONS)})", re.IGNORECASE)
_LABEL = re.compile(
    rf"\A[#>*_ \t{_ORNAMENTS}]{{0,8}}(?:{_TITLE}|(?:final )?answer|output|response)[*_ ]{{0,4}}{_COLON}\s*",
    re.IGNORECASE,
)
_HEADING = re.compile(
    rf"\A(?:#{{1,6}}[ \t]*[*_ {_ORNAMENTS}]{{0,6}}|[*_ {_ORNAMENTS}]{{2,6}}|(?=(?:{_QUALIFIER})[ _-]))"
    rf"{_TITLE}"
    rf"[*_ {_ORNAMENTS}]{{0,6}}[:：]?[ \t]*(?:\n|\Z)",
    re.IGNORECASE,
)
_RULE = re.compile(r"[-*_=~][-*_=~ \t]{2,}")

# What models say to the user after a prompt. Each begins a sentence.
_CLOSING = "|".join((
    r"(?:please |just |and )?let me know|(?:please )?feel free to|tell me if|want me to|(?:shall|should) i\b",
    r"would you like (?:me|to|any|a|it|this)\b|do you want (?:me|to|any)\b|is there anything",
    r"(?:i )?hope (?:this|that|it|you)\b|if you(?:.d| would) (?:like|prefer)|enjoy[!.]*\Z",
    r"if you (?:want|need) (?:me|any|to|a|it|more|further|changes)\b|i(?:.m| am) happy to",
    r"i can (?:also )?(?:adjust|tweak|modify|refine|create|make|provide)|happy (?:creating|generating)",
    r"what do you think|does (?:this|that) (?:work|match|help|capture|look)|how does (?:this|that)",
    r"this (?:\w+ )?(?:prompt|version) (?:is|adds|keeps|now|aims|should|captures|has|includes|maintains)\b",
    r"note(?: that)?[:,]? i(?:.ve| have| kept| added| used| left| avoided)\b|\[?end of (?:the )?prompt\b",
    r"(?:word count|words)[:：] ?[~≈]?\d",
    # German
    r"lass(?:en sie)? (?:es )?mich (?:gerne? )?wissen|sag(?:en sie)? mir|gib mir bescheid|geben sie mir",
    r"(?:möchtest|willst|brauchst) du|möchten sie|wollen sie|ich hoffe|falls (?:du|sie) |soll ich",
    r"wenn (?:du|sie) (?:möchte|will|woll|noch|änder|weiter)|viel (?:spaß|erfolg)",
    # French
    r"n.hésite|(?:faites|fais|dites|dis)-moi|souhaite[sz]-|voulez-vous|veux-tu|voudrai|j.espère",
    r"si (?:vous|tu) (?:souhait|voul|veux|préf)",
    # Spanish, Portuguese and Italian
    r"¿(?:quieres|quiere|deseas?|te gustaría|le gustaría|necesitas|qué te parece)|avísame",
    r"há(?:zmelo|game) saber|hazme saber|dime si|espero que|no dudes en",
    r"si (?:quieres|deseas|necesitas|prefieres)",
    r"me avise|avise-me|diga-me|se (?:quiser|você quiser|desejar|precisar|preferir)|gostaria (?:de|que)",
    r"deseja (?:que|algum)|fique à vontade",
    r"fammi sapere|dimmi se|vuoi che|desideri (?:che|qual)|se (?:vuoi|desideri|preferisci)|spero che",
    # Dutch and Russian
    r"laat (?:het )?me weten|wil je dat|zou je |als je (?:wilt|nog)",
    r"дайте знать|дай знать|скажите, если|если (?:хотите|нужно|вы |вам |хочешь)|хотите|надеюсь",
    # Chinese, Japanese and Korean
    r"(?:如果|如需|如有|需要|希望|请|請|您|你|是否)[^\n]{0,60}(?:告诉|告訴|修改|调整|調整|吗|嗎)",
    r"[^\n「『]{0,60}(?:お知らせください|お申し付けください|いかがでしょうか|お気軽に)",
    r"[^\n'\"“]{0,60}(?:알려 ?주세요|말씀해 ?주세요|원하시면|필요하시면|드릴까요|하시겠어요)",
))  # fmt: skip
_CLOSING_SENTENCE = re.compile(
    rf"(?:\A|(?<=[.!?…)*_”\"]) {{1,3}}|(?<=[。！？]))[*_>(\s-]{{0,4}}(?:{_CLOSING})", re.IGNORECASE
)
_MAX_CLOSING_LENGTH = 300
# The heading of a section that explains the prompt to the user.
_EXPLANATION = re.compile(
    r"^[#*_> \t]{0,8}(?:(?:key|main) (?:changes|enhancements|improvements|additions)|"
    r"(?:changes|enhancements|improvements)(?: i)? made|what (?:i|has) changed|what.s changed|why this works|"
    r"explanation(?: of (?:the )?(?:changes|enhancements))?|rationale)[*_ ]{0,4}[:：]?[*_ \t]{0,4}$",
    re.IGNORECASE | re.MULTILINE,
)
_QUOTE_PAIRS = (("“", "”"), ("«", "»"), ("「", "」"), ("『", "』"))


def without_introduction(text: str) -> str:
    """Return `text` without an introduction, a title or a rule at its beginning."""
    for pattern in (_INTRODUCTION, _HEADING, _LABEL):
        text = pattern.sub("", text, count=1).lstrip()
    first, _, rest = text.partition("\n")
    return rest if rest and _RULE.fullmatch(first.rstrip()) else text


def without_closing(text: str) -> str:
    """Return `text` without a rule, an explanation or a sentence to the user at its end.

    A sentence in quotes belongs to the image and stays.
    """
    if explanation := _EXPLANATION.search(text):
        text = text[: explanation.start()].rstrip()
    start = text.rfind("\n") + 1
    last = text[start:]
    if start and _RULE.fullmatch(last):
        return text[:start]
    closing = _CLOSING_SENTENCE.search(last, max(len(last) - _MAX_CLOSING_LENGTH, 0))
    if closing is None or _is_quoting(last[: closing.start()]):
        return text
    return text[: start + closing.start()]


def _is_quoting(text: str) -> bool:
    """Return whether a quote was opened in `text` and not closed."""
    return text.count('"') % 2 == 1 or any(
        text.count(open_quote) > text.count(close_quote) for open_quote, close_quote in _QUOTE_PAIRS
    )
