"""Recognises a refusal in plain words: a response in which the text model declines to write a prompt.

A prompt that is mistaken for a refusal is lost to the user, who has paid for it. So a text counts as a
refusal only if it is short and begins with two things: the model says that it can't, and it names the task
that it was given, such as helping or creating. An apology may come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

# In characters. A refusal may offer alternatives, but it isn't as long as a full prompt.
_MAX_LENGTH = 1_500
# The beginning of the text that is searched.
_SEARCHED = 400


@dataclass(frozen=True, slots=True)
class _Language:
    """The words of a refusal in one language, as regular expressions in lower case.

    `apologies` are its optional beginning, `inability` says "I can't", and `tasks` name the model's task. In
    Turkish and Hindi, the verbs in `tasks` say "can't" themselves.
    """

    apologies: str
    inability: str
    tasks: str


_LANGUAGES = (
    _Language(  # English
        apologies=(
            r"(?:oh|no|well|hello|hi|hmm|thank you|thanks)\b|(?:i(?: am|'m)? )?(?:(?:so|very|really|"
            r"truly|deeply) )?sorry|my apologies|(?:i )?(?:sincerely )?apologi[sz]e|unfortunately|"
            r"regrettably|i regret|i(?: am|'m) afraid|as an? (?:ai|language model|assistant)|"
            r"(?:while )?i (?:appreciate|understand)"
        ),
        inability=(
            r"i(?: am|'m)? ?(?:can(?:no|')?t|can not|couldn't|could not|won't|will not|(?:must|have to|"
            r"need to)(?= (?:\w+ )?(?:declin|refus))|decline|refuse|(?:not|un)(?:able| able| allowed|"
            r" permitted| comfortable)|not going to|do(?: not|n't) feel comfortable)"
        ),
        tasks=(
            r"assist|help (?:you|with|creat|generat|writ|produc)|fulfil|compl(?:y|ete) |complete\b|"
            r"creat(?:e|ing)|generat(?:e|ing)|provid(?:e|ing)|writ(?:e|ing)|produc(?:e|ing)|continue\b|"
            r"engag(?:e|ing) (?:with|in)|process\b|enhanc(?:e|ing)|rewrit(?:e|ing)|respond|accommodate|"
            r"support\b|declin(?:e|ing)|refus(?:e|ing)|do (?:that|this|so)\b|request|prompt"
        ),
    ),
    _Language(  # German
        apologies=(
            r"(?:es )?tut mir (?:sehr |wirklich )?leid|leider|entschuldig\w*|ich bedau\w+|sorry|"
            r"verzeih\w*|als ki\b"
        ),
        inability=(
            r"(?:ich (?:kann|darf|werde|möchte|bin)|(?:kann|darf|werde|möchte|"
            r"bin) ich)\b[^.!?]{0,80}?(?:nicht|keine?[nmrs]?|außerstande)|ich (?=lehne|"
            r"muss \w* ?\w* ?ablehnen)"
        ),
        tasks=(
            r"helfen|weiterhelfen|behilflich|unterstütz|erstell|generier|erzeug|erfüll|nachkommen|"
            r"entsprechen|schreib|verfass|bearbeit|liefer|anbiet|bereitstell|in der lage|ablehnen|lehne"
        ),
    ),
    _Language(  # French
        apologies=(
            r"(?:je suis (?:vraiment |sincèrement )?)?(?:désolée?|navrée?)|pardon|excuse[zs]?[- ]moi|"
            r"malheureusement|je (?:regrette|m'excuse)|toutes mes excuses|en tant qu'ia"
        ),
        inability=(
            r"je ne (?:peux|puis|pourrai|saurais|suis pas (?:en mesure|autorisé|capable|à l'aise))|"
            r"il m'est impossible|je n'ai pas (?:le droit|la possibilité|la capacité)|je (?=refuse|"
            r"(?:dois|me vois) [^.!?]{0,40}(?:décliner|refuser))"
        ),
        tasks=(
            r"aider|assister|répondre|créer|générer|fournir|traiter|écrire|rédiger|satisfaire|accéder|"
            r"produire|donner suite|continuer|proposer|décliner|refuse"
        ),
    ),
    _Language(  # Spanish
        apologies=(
            r"lo (?:siento|lamento)(?: mucho)?|lamento|perdón|perdona|disculp[ae]\w*|lamentablemente|"
            r"desafortunadamente|me temo|como (?:ia|modelo)"
        ),
        inability=(
            r"no (?:puedo|podré|podría|me es posible|me está permitido|estoy (?:en|autorizad|program|"
            r"diseñad)|soy capaz)|debo (?=rechazar|declinar)|me es imposible"
        ),
        tasks=(
            r"ayudar|asistir|cumplir|crear|generar|proporcionar|escribir|ofrecer|atender|responder|"
            r"satisfacer|procesar|redactar|continuar|rechazar|declinar"
        ),
    ),
    _Language(  # Portuguese
        apologies=(
            r"(?:sinto|lamento) muito|lamento|desculp[ea]\w*|(?:me|peço) desculp[ea]s?|infelizmente|"
            r"como (?:ia|um modelo)"
        ),
        inability=(
            r"(?:eu )?não (?:posso|consigo|poderei|me é possível|estou (?:autorizad|apt|em condições|"
            r"program))|(?:eu )?(?:devo|preciso) (?=recusar)"
        ),
        tasks=(
            r"ajud|auxiliar|atender|criar|gerar|fornecer|escrever|produzir|assistir|cumprir|responder|"
            r"processar|continuar|oferecer|recusar"
        ),
    ),
    _Language(  # Italian
        apologies=(
            r"mi (?:dispiace|spiace|scuso)|scusa\w*|purtroppo|(?:sono )?spiacente|chiedo scusa|"
            r"come (?:ia|modello)"
        ),
        inability=(
            r"non (?:posso|sono (?:in grado|autorizzat|capace)|mi è possibile|riesco|potrò)|"
            r"devo (?=rifiutar|declinar)"
        ),
        tasks=(
            r"aiutar|assister|soddisfar|crear|generar|fornir|scriver|produrr|risponder|elaborar|"
            r"continuar|offrir|procedere|esaudir|rifiutar|declinar"
        ),
    ),
    _Language(  # Dutch
        apologies=r"(?:het )?spijt me|sorry|helaas|mijn excuses|excuseer",
        inability=(
            r"(?:ik (?:kan|mag|zal|ben)|(?:kan|mag|zal|ben) ik)\b[^.!?]{0,60}?(?:niet|geen)|"
            r"ik moet (?=[^.!?]{0,20}weigeren)"
        ),
        tasks=(
            r"helpen|assisteren|voldoen|maken|genereren|schrijven|verwerken|leveren|in staat|weigeren|"
            r"afwijzen|ondersteunen|verzoek"
        ),
    ),
    _Language(  # Polish
        apologies=r"(?:bardzo )?(?:przepraszam|przykro mi)|niestety|wybacz\w*",
        inability=r"(?:ja )?nie (?:mogę|jestem w stanie|będę|mogłabym|mógłbym)|muszę (?=odmówić)",
        tasks=(
            r"pomóc|pomagać|spełnić|stworzyć|wygenerować|utworzyć|napisać|odpowiedzieć|zrealizować|"
            r"dostarczyć|odmówić"
        ),
    ),
    _Language(  # Swedish, Danish and Norwegian
        apologies=(
            r"(?:jag är |jeg er )?(?:ledsen|ked af det|lei meg)|tyvärr|desværre|dessverre|beklag\w*|"
            r"jag beklagar|förlåt|undskyld"
        ),
        inability=(
            r"(?:men )?(?:jag|jeg) (?:kan|får|må)(?: \w+)? (?:inte|ikke)|kan (?:jag|"
            r"jeg)(?: \w+)? (?:inte|ikke)"
        ),
        tasks=(
            r"hjälpa|hjælpe|hjelpe|skapa|skabe|lage|generera|generere|skriva|skrive|uppfylla|opfylde|"
            r"oppfylle|assistera"
        ),
    ),
    _Language(  # Turkish
        apologies=r"(?:çok )?üzgünüm|özür dilerim|maalesef|ne yazık ki|kusura bakma\w*",
        inability="",
        tasks=(
            r"(?:yardımcı ol|yardım ed|oluştur|yerine getir|üret|yaz|sağlay|yap)(?:am(?:am|ıyorum|"
            r"ayacağım)|em(?:em|iyorum|eyeceğim))"
        ),
    ),
    _Language(  # Russian
        apologies=(
            r"(?:мне )?(?:очень )?жаль|извини\w*|простите|прошу прощения|к сожалению|"
            r"приношу (?:свои )?извинения|как ии\b"
        ),
        inability=(
            r"(?:но )?(?:я )?(?:не (?:могу|смогу|в состоянии|имею возможности)|вынужден\w* (?=отказ))|"
            r"(?=отказываюсь)"
        ),
        tasks=(
            r"помо[чг]|выполни|созда|сгенерир|генерир|предостав|написа|отве(?:ти|ча)|обработа|продолж|"
            r"отказ|поддерж"
        ),
    ),
    _Language(  # Ukrainian
        apologies=r"(?:мені )?(?:дуже )?шкода|вибач\w*|перепрошую|на жаль|прошу вибачення",
        inability=r"(?:але )?(?:я )?(?:не (?:можу|зможу|в змозі)|змушен\w* (?=відмов))",
        tasks=r"допомог|викона|створ|згенер|генер|нада|написа|відпов|оброб|відмов",
    ),
    _Language(  # Indonesian and Malay
        apologies=r"(?:mohon )?maaf(?:kan)?|sayangnya",
        inability=r"(?:tetapi |tapi |namun )?(?:saya|aku) (?:tidak|tak) (?:dapat|bisa|boleh|mampu)",
        tasks=r"membantu|membuat|memenuhi|menghasilkan|menulis|memberikan|menyediakan|melanjutkan",
    ),
    _Language(  # Vietnamese
        apologies=r"(?:tôi )?(?:rất )?(?:xin lỗi|tiếc)",
        inability=r"(?:nhưng )?(?:tôi|mình) (?:không thể|không được phép)",
        tasks=r"giúp|hỗ trợ|tạo|thực hiện|đáp ứng|viết|cung cấp",
    ),
    _Language(  # Arabic
        apologies=r"(?:أنا )?(?:آسف|أعتذر|عذر[اً]*|معذرة)|للأسف",
        inability=r"(?:و?لكن(?:ني|ي)? )?(?:لا (?:أستطيع|يمكنني|أقدر)|لن أتمكن|لست قادر)",
        tasks=r"مساعد|إنشاء|تلبية|كتابة|تقديم|توليد|المتابعة|الاستجابة",
    ),
    _Language(  # Hindi
        apologies=r"(?:मुझे )?(?:क्षमा|माफ़?|खेद)|दुर्भाग्य",
        inability=r"(?:मैं|मुझसे)",
        tasks=r"(?:सहायता|मदद|पूरा|बना|उत्पन्न|लिख|प्रदान)[^।]{0,30}(?:नहीं|असमर्थ)",
    ),
    _Language(  # Chinese
        apologies=(
            r"(?:非常|很|十分|真的|實在|实在)?(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)|作为(?:一个|"
            r"一名)?(?:ai|人工智能)|作為(?:一個)?(?:ai|人工智慧)"
        ),
        inability=(
            r"(?:但|不过|不過)?(?:我|本助手|本模型)[^。！？]{0,8}?(?:不能|无法|無法|没办法|沒辦法|"
            r"不可以|不便|拒绝|拒絕)"
        ),
        tasks=(
            r"帮|幫|协助|協助|提供|生成|创建|創建|创作|創作|满足|滿足|完成|回答|处理|處理|请求|請求|"
            r"撰写|撰寫|继续|繼續|支持"
        ),
    ),
)
# Refusals that don't speak of the model itself, or have a word order of their own.
_OTHERS = (
    (
        r"(?:this|that|your|the) (?:request|prompt|description|content|image)\b[^.!?]{0,60}(?:violates?|"
        r"goes against|(?:can't|cannot|can not) be (?:fulfilled|processed|completed|generated|created)|"
        r"(?:is|was) (?:not (?:allowed|permitted)|against (?:my|our|the \w* ?(?:policy|policies|"
        r"guidelines))|refused|rejected|declined|denied))"
    ),
    r"(?:request|prompt) (?:refused|rejected|denied|declined|blocked)\b",
    (
        r"(?:非常|很|十分)?(?:抱歉|对不起|對不起)(?=[^「『“。！？]{0,60}(?:我|您|你|该|該|此|这|這|请求|"
        r"請求))[^「『“。！？]{0,40}?(?:不能|无法|無法)[^「『“。！？]{0,40}?(?:帮|幫|协助|協助|提供|"
        r"生成|创建|創建|满足|滿足|完成|回答|处理|處理|写|寫)"
    ),
    (
        r"(?:大変|誠に|まことに|たいへん)?(?:申し訳(?:あり|ござい|ない(?:です|のです)?が)|すみません|"
        r"ごめんなさい|恐れ入りますが|残念ながら)[^「『“]{0,80}?(?:手伝|応え|答え|対応|提供|生成|作成|"
        r"支援|応じ|サポート|協力|お受け|描写|従う|書く)[^。]{0,20}?(?:ません|できない|出来ない|"
        r"かねます|不可能)"
    ),
    r"(?:申し訳|すみません)[^「『“]{0,80}?お断り",
    (
        r"ご?(?:リクエスト|依頼|要求|要望)[^。「『“]{0,30}(?:お応え|お答え|対応|お手伝い|"
        r"応じ)[^。]{0,20}(?:ません|かねます)"
    ),
    (
        r"(?:정말 |대단히 )?(?:(?:죄송|미안)(?:합니다|하지만|해요|스럽지만|드립니다|하오나)|유감스럽|"
        r"""안타깝게도)[^\"“'‘「]{0,60}?(?:도와|도움|도울|지원|제공|생성|만들|작성|응답|처리|수행|응할|"""
        r"응해|따를|들어)[^.!?]{0,20}?(?:수 ?(?:가 )?없|어렵|불가능|못)"
    ),
    (
        r"""(?:요청하신|해당 요청|그 요청|저는)[^.!?\"“'‘]{0,60}(?:도와|도움|지원|제공|생성|만들|작성|"""
        r"처리|수행|응할)[^.!?]{0,20}(?:수 ?(?:가 )?없|어렵|불가능)"
    ),
)


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Return the patterns of all languages. They are compiled on first use, because compiling is slow."""
    return tuple(re.compile(text) for text in (*map(_pattern, _LANGUAGES), *_OTHERS))


def _pattern(language: _Language) -> str:
    """Return the pattern for one language.

    The task must follow the inability within the sentence. No quotes are opened before: quoted words belong
    to the image. Every repetition is bounded.
    """
    unquoted = r'[^"“„«「『\n]'
    apology = rf"(?:(?:{language.apologies}){unquoted}{{0,120}}?)?"
    between = r'[^"“„«「『.!?。！？\n]{0,80}?'
    return rf"{apology}(?<!\w)(?:{language.inability}){between}(?:{language.tasks})"


def is_refusal(text: str, own_texts: Iterable[str] = ()) -> bool:
    """Return whether `text` is a refusal and not a prompt.

    `own_texts` are the texts of the user's description. If the words of the refusal are in one of them, they
    are part of the image, and `text` isn't a refusal.
    """
    if len(text) > _MAX_LENGTH:
        return False
    start = _folded(text[:_SEARCHED])
    matches = (pattern.match(start) for pattern in _patterns())
    refused = next((match[0] for match in matches if match), None)
    return refused is not None and not any(refused in _folded(own) for own in own_texts)


def _folded(text: str) -> str:
    """Return `text` in lower case, with plain apostrophes and single spaces, and no Markdown at its start."""
    return " ".join(text.replace("’", "'").lower().split()).lstrip("*_>#-⚠🚫❌ ")
