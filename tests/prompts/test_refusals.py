"""Refusals in plain words, and prompts that look like one."""

from __future__ import annotations

import pytest

from core.prompts.refusals import is_refusal

REFUSALS = [
    "Sorry, I can't help with this one.",
    "I’m sorry, but I cannot help with that.",
    "I cannot fulfill this request.",
    "I can't create content that depicts real people in that way.",
    "I'm unable to generate a prompt for this.",
    "I am not able to help with this request.",
    "Sorry, I can't help you with that.",
    "Sorry, but I can't do that.",
    "I must decline this request.",
    "I won't be able to assist with this.",
    "I will not generate that.",
    "As an AI language model, I cannot create explicit content.",
    "Unfortunately, I can't provide a prompt for that.",
    "I apologize, but I'm not comfortable writing this prompt.",
    "I have to respectfully decline to write this.",
    "I appreciate your creativity, but I can't help with creating this image.",
    "This request violates our content policy.",
    "Your request was rejected as a result of our safety system.",
    "I'm really sorry. I can't help with that.",
    "I decline to generate this.",
    "I'm not able to help create this.",
    "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
    "Tut mir leid, dabei kann ich nicht helfen.",
    "Leider kann ich diese Anfrage nicht erfüllen.",
    "Ich kann bei dieser Anfrage nicht helfen.",
    "Ich kann dafür keinen Prompt erstellen.",
    "Ich bin nicht in der Lage, das zu erstellen.",
    "Entschuldigung, aber ich darf keine solchen Inhalte generieren.",
    "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
    "Désolée, je ne peux pas t'aider.",
    "Je ne peux pas répondre à cette demande.",
    "Je ne suis pas en mesure de générer ce contenu.",
    "Malheureusement, il m'est impossible de créer cette image.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "No puedo ayudar con esa solicitud.",
    "Lamentablemente, no me es posible crear ese contenido.",
    "Desculpe, mas não posso ajudar com isso.",
    "Sinto muito, mas não posso atender a essa solicitação.",
    "Infelizmente, não consigo criar esse conteúdo.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Non posso soddisfare questa richiesta.",
    "Spiacente, non sono in grado di generare questo contenuto.",
    "Het spijt me, maar ik kan je daar niet bij helpen.",
    "Przepraszam, ale nie mogę pomóc w tej sprawie.",
    "Tyvärr kan jag inte hjälpa till med det.",
    "Beklager, men jeg kan ikke hjelpe med det.",
    "Üzgünüm, bu konuda yardımcı olamam.",
    "Üzgünüm, ancak bu isteği yerine getiremem.",
    "Извините, но я не могу помочь с этим запросом.",
    "К сожалению, я не могу выполнить этот запрос.",
    "Я не могу создать такой контент.",
    "Вибачте, але я не можу допомогти з цим.",
    "Maaf, saya tidak dapat membantu dengan permintaan itu.",
    "Xin lỗi, tôi không thể giúp bạn với yêu cầu này.",
    "عذرًا، لا أستطيع المساعدة في هذا الطلب.",
    "क्षमा करें, मैं इस अनुरोध में सहायता नहीं कर सकता।",
    "抱歉，我无法协助满足该请求。",
    "很抱歉，我不能帮助您处理这个请求。",
    "对不起，我无法生成此内容。",
    "抱歉，我無法協助您完成這個請求。",
    "我无法提供这样的内容。",
    "申し訳ありませんが、そのリクエストにはお応えできません。",
    "申し訳ございませんが、お手伝いできません。",
    "すみませんが、そのような内容の作成はできません。",
    "ご要望にはお応えできません。",
    "죄송하지만 해당 요청은 도와드릴 수 없습니다.",
    "죄송합니다. 그 요청을 처리할 수 없습니다.",
    "미안하지만 도와줄 수 없어요.",
    "저는 이 요청을 도와드릴 수 없습니다.",
    "**I'm sorry, but I can't assist with that.**",
]
PROMPTS = [
    "“I can't believe it's not butter”, a neon sign over a diner.",
    "I can't believe it's Monday, hand-lettered on a mug.",
    "I can't help falling in love, in pink neon cursive above a jukebox.",
    'A sign on the door says "Sorry, we can\'t help you today", rain, neon.',
    "Sorry! A board game box on a table, bright colours.",
    "A sorry-looking dog that can't write, sitting at a typewriter.",
    "\"I'm sorry, but I can't assist with that request\" in white type on a blue robot's screen.",
    "A robot holds a card: I'm sorry, but I can't assist with that request.",
    "I wake up in a forest that cannot be created by hands.",
    "We can see the harbour; we create the mood with soft light.",
    "I must go down to the seas again, watercolour, a tall ship.",
    "Unfortunately placed statue in a small park, comic style.",
    "Oh, what a night: a city skyline that can't sleep.",
    "Leider geschlossen: ein Schild an einer Bäckerei, Regen.",
    "Ich bin ein Berliner: ein Pfannkuchen mit Zuckerguss, nicht zu groß.",
    "Ein Fuchs kann nicht helfen, wenn der Schnee fällt.",
    "Kann man nicht sehen: eine verborgene Tür, erstellt aus Moos.",
    "Désolé, fermé : une pancarte sur une porte bleue.",
    "Lo siento mucho, escrito en una tarjeta con flores.",
    "No puedo vivir sin ti, cartel de cine de los años 50.",
    "Devo andare: un treno che parte, luce calda.",
    "Non posso vivere senza te, scritto al neon.",
    "Mi dispiace scritto su un biglietto.",
    "抱歉，本店今日休息的牌子，雨夜，霓虹灯。",
    "我不能没有你，海报上的红色大字。",
    "一只狐狸无法完成拼图，坐在雪地上。",
    "「申し訳ありません、対応できません」と書かれた看板。",
    "申し訳なさそうな顔の狐、雪の中。",
    "すみませんと書かれた紙を持つ女の子。",
    "「죄송합니다」라고 적힌 표지판, 비 오는 밤.",
    "죄송한 표정의 여우가 눈 속에 앉아 있다.",
    "Извините, мы закрыты: табличка на двери.",
    "К сожалению, лето кончилось: осенний парк.",
    "A red fox with a long scarf stands on a snowy ridge at dusk, soft rim light, 35mm.",
    "I am not a robot: a captcha checkbox, huge, in a gallery.",
    "No soy un robot, póster minimalista para crear conciencia.",
    "We will not be moved: protest banner, bold letters.",
    "The image is against a white background.",
    "Your request is my command: a genie rises from a lamp.",
    "This image: a red fox.",
    "The prompt box glows.",
    "Thank you for not smoking, vintage enamel sign.",
    "I need to write a letter, said the owl; moonlit desk.",
    "I have to create, in graffiti letters on a brick wall.",
    "We must help each other, wartime poster style, workers write letters.",
    "Je suis un renard qui ne peut pas écrire.",
    "Helaas pindakaas, een pot op een tafel.",
    "Bu bir tilki.",
    "Maaf, toko tutup.",
    "狐は手紙を書くことができません。雪の中、机。",
    "여우는 편지를 쓸 수 없다. 눈 속의 책상.",
    "Bir tilki mektup yazamaz, kar altında.",
    "Debo crear: un taller de alfarería.",
    "Devo scrivere: una macchina da scrivere.",
    "We can't create peace alone, poster.",
    "Eu não estou aqui, criar um cartaz minimalista.",
    "抱歉，本店今日不能提供咖啡的牌子，雨夜。",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_recognised(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", PROMPTS)
def test_a_prompt_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


def test_the_words_of_the_user_are_no_refusal() -> None:
    own = "Poster: I can't help you with that, said the ROBOT."
    text = "I can't help you with that, in white letters above a blue robot."
    assert is_refusal(text)
    assert not is_refusal(text, ("Pip", own))


def test_a_long_text_is_no_refusal() -> None:
    assert not is_refusal("I'm sorry, I can't help with that. " + "A robot on a stage. " * 80)
