"""The offline enhancer keeps the user's texts and adds phrases in their language."""

from dataclasses import replace

import pytest

from core.offline.phrases import PHRASES
from core.offline.prompt_writer import Description, language_of, write_prompt
from core.prompts.request import EnhancementLevel
from core.prompts.styles import STYLES

FOX = Description(
    "Pip", ("curious", "one torn ear"), "a small fox in the forest", guidance="leave room on the left"
)
REQUESTS = [
    pytest.param("en", FOX, id="English"),
    pytest.param("de", Description("Mara", ("mutig", "trägt Brille"), "eine Füchsin im Wald"), id="German"),
    pytest.param("fr", Description("Éloïse", ("très curieuse",), "un renard dans la forêt"), id="French"),
    pytest.param("es", Description("Íñigo", ("valiente",), "un zorro en el bosque de noche"), id="Spanish"),
    pytest.param("it", Description("Ginevra", ("curiosa",), "una volpe nel bosco di notte"), id="Italian"),
    pytest.param(
        "pt", Description("João", ("corajoso",), "uma raposa na floresta não muito escura"), id="Portuguese"
    ),
    pytest.param("nl", Description("Sanne", ("dapper",), "een kleine vos in het bos"), id="Dutch"),
    pytest.param("pl", Description("Łucja", ("odważna",), "mały lis w lesie i noc"), id="Polish"),
    pytest.param("ru", Description("Ёлка", ("смелая",), "лиса в лесу"), id="Russian"),
    pytest.param("ja", Description("ハナ", ("好奇心旺盛",), "森の中の狐"), id="Japanese"),
    pytest.param("zh", Description("小狐", ("好奇",), "森林里的狐狸"), id="Chinese"),
    pytest.param("ko", Description("하나", ("용감한",), "숲속의 여우"), id="Korean"),
    pytest.param("ar", Description("نور", ("شجاعة",), "ثعلب في الغابة"), id="Arabic"),
    pytest.param(None, Description("นิล", ("กล้าหาญ",), "จิ้งจอกในป่า"), id="unknown language"),
]


@pytest.mark.parametrize(("language", "description"), REQUESTS)
@pytest.mark.parametrize("level", list(EnhancementLevel))
def test_every_text_of_the_user_stays_verbatim(language, description, level):
    text = write_prompt(replace(description, enhancement=level))
    for user_text in (description.name, *description.traits, description.base_prompt, description.guidance):
        assert user_text in text


@pytest.mark.parametrize(("language", "description"), REQUESTS)
def test_labels_and_constraints_are_in_the_users_language(language, description):
    user_text = " ".join((description.name, *description.traits, description.base_prompt))
    assert language_of(user_text) == language
    phrases = PHRASES[language or "en"]
    text = write_prompt(description)
    assert f"{phrases.labels.subject}: {description.name}" in text
    assert phrases.constraints in text


@pytest.mark.parametrize(("language", "description"), REQUESTS)
def test_the_text_depends_on_the_variation(language, description):
    texts = [write_prompt(replace(description, variation=number)) for number in range(6)]
    assert len(set(texts)) == 6
    assert texts[3] == write_prompt(replace(description, variation=3))


def test_the_text_is_the_same_in_every_process():
    assert write_prompt(Description("Pip", base_prompt="a fox")).splitlines()[1:3] == [
        "Scene: a fox.",
        "Subject: Pip.",
    ]


def test_each_level_writes_more_than_the_one_below():
    light, balanced, rich = (len(write_prompt(replace(FOX, enhancement=level))) for level in EnhancementLevel)
    assert light < balanced < rich


@pytest.mark.parametrize("style", [pytest.param(style, id=style.key) for style in STYLES])
def test_the_style_is_in_the_prompt(style):
    assert style.words in write_prompt(replace(FOX, style=f"{style.label}: {style.words}"))


@pytest.mark.parametrize(
    "description",
    [
        pytest.param(Description(name="Pip"), id="name only"),
        pytest.param(Description(traits=("shy",)), id="traits only"),
        pytest.param(Description(base_prompt="a fox"), id="base prompt only"),
        pytest.param(Description(), id="nothing"),
    ],
)
def test_a_missing_field_leaves_no_empty_part(description):
    lines = write_prompt(description).splitlines()
    assert all(line.partition(": ")[2] for line in lines)
    assert lines[-1].startswith("Constraints: No watermark, no extra text")


@pytest.mark.parametrize(("language", "description"), REQUESTS)
def test_at_most_3000_characters_are_added(language, description):
    long = replace(description, base_prompt="x" * 9000, enhancement=EnhancementLevel.RICH)
    assert len(write_prompt(long)) - 9000 < 3000


def test_the_parts_come_in_a_fixed_order():
    text = write_prompt(replace(FOX, style="Ink: black ink drawing"))
    labels = [line.partition(":")[0] for line in text.splitlines()]
    assert labels == [
        "Purpose",
        "Scene",
        "Subject",
        "Key details",
        "Light and mood",
        "Composition",
        "Style and medium",
        "Guidance",
        "Constraints",
    ]
