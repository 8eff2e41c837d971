"""The offline enhancer's phrases and labels in each language, and the words that identify a language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Labels:
    """One language's labels for the parts of a prompt."""

    purpose: str
    scene: str
    subject: str
    details: str
    light: str
    composition: str
    style: str
    guidance: str
    constraints: str


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language's phrases for the parts of a prompt. Each tuple holds alternatives to choose from.

    The phrase `constraints` is in every prompt, and `keep_details` only in prompts of the rich level. No
    phrase names a place, a colour, an object or a time of day, because the user chooses those.
    """

    labels: Labels
    constraints: str
    light: tuple[str, ...]
    composition: tuple[str, ...]
    purpose: tuple[str, ...] = ()
    scene: tuple[str, ...] = ()
    finish: tuple[str, ...] = ()
    keep_details: str = ""


_ENGLISH = Phrases(
    Labels(
        "Purpose",
        "Scene",
        "Subject",
        "Key details",
        "Light and mood",
        "Composition",
        "Style and medium",
        "Guidance",
        "Constraints",
    ),
    "No watermark, no extra text, no logos; original design; no other people or animals.",
    (
        "soft directional light from one side, gentle contrast, a calm mood",
        "warm key light with cool reflected light in the shadows, an inviting mood",
        "diffuse light with a thin bright rim around the outline, a mood of quiet wonder",
        "clear light and soft shadows, lively but uncluttered",
        "low side light that brings out every form, an intimate mood",
    ),
    (
        (
            "eye-level view, the subject slightly off centre and filling about half of the frame, with empty "
            "space around it"
        ),
        "three-quarter view, the subject on the lower third line, leading lines towards it",
        "centred and symmetrical, seen a little from below, a clean outline against the background",
        "medium shot, clear foreground, middle ground and background, depth through overlap",
        "close framing, the subject looks at the viewer, a simple background",
    ),
    (
        "a finished image that is clear at a glance, even as a small thumbnail",
        "a key visual for a presentation, clear even from the back row",
        "the opening image of a story: one moment, one idea",
        "a reference portrait",
    ),
    (
        "Everything in the surroundings supports the subject; nothing competes with it.",
        "A few well-chosen objects show where the scene is set.",
        "Foreground and background differ in tone.",
    ),
    (
        "concrete, tangible materials and surfaces; three or four harmonious colours",
        "fine texture where the eye rests, calm areas elsewhere; a limited, balanced palette",
        "crisp at the centre of interest, softer towards the edges; consistent proportions",
    ),
    "Keep every detail named above exactly as given",
)
_GERMAN = Phrases(
    Labels(
        "Zweck",
        "Szene",
        "Motiv",
        "Wichtige Einzelheiten",
        "Licht und Stimmung",
        "Bildaufbau",
        "Stil und Technik",
        "Wünsche",
        "Vorgaben",
    ),
    "Kein Wasserzeichen, kein zusätzlicher Text, keine Logos; eigenständiger Entwurf; "
    "keine weiteren Personen oder Tiere.",
    (
        "weiches, gerichtetes Licht von einer Seite, sanfte Kontraste, ruhige Stimmung",
        "warmes Führungslicht mit kühlem Widerschein in den Schatten, einladende Stimmung",
        "gestreutes Licht mit feinem hellem Saum um die Kontur, staunende Stimmung",
        "klares Licht und offene Schatten, lebendig und doch aufgeräumt",
        "flaches Seitenlicht, das jede Form herausarbeitet, vertraute Stimmung",
    ),
    (
        (
            "auf Augenhöhe gesehen, das Motiv leicht aus der Mitte, etwa das halbe Bild füllend, "
            "mit Raum zum Atmen"
        ),
        "Dreiviertelansicht, das Motiv auf der unteren Drittellinie, Linien führen den Blick zu ihm",
        "mittig und symmetrisch, leicht von unten gesehen, klare Kontur vor dem Hintergrund",
        (
            "halbnahe Einstellung, Vorder-, Mittel- und Hintergrund deutlich getrennt, Tiefe durch "
            "Überschneidung"
        ),
        "enger Ausschnitt, der Blick trifft den Betrachter, der Hintergrund bleibt schlicht",
    ),
    (
        "ein fertiges Bild, das auf einen Blick wirkt, auch als kleine Vorschau",
        "ein Titelbild für eine Präsentation, auch aus der letzten Reihe gut zu erkennen",
        "ein Bild, mit dem eine Geschichte beginnt: ein Augenblick, ein Gedanke",
        "ein Referenzporträt",
    ),
    (
        "Alles in der Umgebung stützt das Motiv; nichts lenkt davon ab.",
        "Wenige, gut gewählte Gegenstände zeigen, wo die Szene spielt.",
        "Vordergrund und Hintergrund unterscheiden sich im Tonwert.",
    ),
    (
        "Materialien und Oberflächen greifbar und konkret; drei oder vier Farben im Einklang",
        "feine Struktur, wo das Auge verweilt, sonst ruhige Flächen; begrenzte, ausgewogene Palette",
        "scharf im Mittelpunkt, weicher zum Rand hin; stimmige Proportionen",
    ),
    "Jede oben genannte Einzelheit genau so beibehalten",
)
_FRENCH = Phrases(
    Labels(
        "But",
        "Scène",
        "Sujet",
        "Détails essentiels",
        "Lumière et ambiance",
        "Composition",
        "Style et technique",
        "Souhaits",
        "Contraintes",
    ),
    "Pas de filigrane, pas de texte ajouté, pas de logo ; création originale ; "
    "aucune autre personne et aucun autre animal.",
    (
        "lumière douce et latérale, contrastes modérés, ambiance paisible",
        "lumière principale chaude et reflets froids dans les ombres, ambiance accueillante",
        "lumière diffuse avec un fin liseré clair autour de la silhouette, émerveillement discret",
        "lumière franche et ombres ouvertes, vivant sans être chargé",
        "lumière rasante qui modèle chaque forme, ambiance intime",
    ),
    (
        "vue à hauteur d'œil, sujet légèrement décentré occupant environ la moitié du cadre, de l'air autour",
        "vue de trois quarts, sujet sur le tiers inférieur, des lignes qui y conduisent le regard",
        "centré et symétrique, vu légèrement d'en bas, silhouette nette devant le fond",
        "plan moyen, premier plan, plan médian et fond bien distincts, profondeur par recouvrement",
        "cadrage serré, le regard rencontre le spectateur, fond simple",
    ),
    (
        "une image achevée qui se lit d'un coup d'œil, même en vignette",
        "un visuel clé pour une présentation, lisible jusqu'au dernier rang",
        "une image qui ouvre un récit : un instant, une idée",
        "un portrait de référence",
    ),
    (
        "Tout le décor soutient le sujet ; rien ne lui fait concurrence.",
        "Quelques éléments bien choisis montrent où se passe la scène.",
        "Le premier plan et le fond se distinguent par leurs tons.",
    ),
    (
        "matières et surfaces concrètes et palpables ; trois ou quatre couleurs en harmonie",
        "texture fine là où l'œil s'arrête, zones calmes ailleurs ; palette réduite et équilibrée",
        "net au centre d'intérêt, plus doux vers les bords ; proportions cohérentes",
    ),
    "Garder chaque détail donné ci-dessus tel quel",
)
_SPANISH = Phrases(
    Labels(
        "Finalidad",
        "Escena",
        "Sujeto",
        "Detalles clave",
        "Luz y ambiente",
        "Composición",
        "Estilo y técnica",
        "Deseos",
        "Restricciones",
    ),
    "Sin marca de agua, sin texto añadido, sin logotipos; diseño original; sin otras personas ni animales.",
    (
        "luz suave y lateral, contraste moderado, ambiente sereno",
        "luz principal cálida con reflejos fríos en las sombras, ambiente acogedor",
        "luz difusa con un fino borde claro alrededor de la silueta, asombro discreto",
        "luz clara y sombras abiertas, vivo pero ordenado",
        "luz rasante que modela cada forma, ambiente íntimo",
    ),
    (
        "vista a la altura de los ojos, sujeto algo descentrado que ocupa media imagen, con aire alrededor",
        "vista de tres cuartos, sujeto sobre el tercio inferior, líneas que llevan la mirada hacia él",
        "centrado y simétrico, visto un poco desde abajo, silueta limpia ante el fondo",
        (
            "plano medio, con primer término, término medio y fondo bien separados, profundidad por "
            "superposición"
        ),
        "encuadre cerrado, la mirada encuentra al espectador, fondo sencillo",
    ),
    (
        "una imagen acabada que se entiende de un vistazo, también en miniatura",
        "una imagen principal para una presentación, clara hasta la última fila",
        "una imagen con la que empieza una historia: un instante, una idea",
        "un retrato de referencia",
    ),
    (
        "Todo el entorno apoya al sujeto; nada compite con él.",
        "Unos pocos elementos bien elegidos muestran dónde ocurre la escena.",
        "El primer plano y el fondo se distinguen por el tono.",
    ),
    (
        "materiales y superficies concretos y palpables; tres o cuatro colores en armonía",
        "textura fina donde se detiene la vista, zonas tranquilas en el resto; paleta reducida y equilibrada",
        "nítido en el centro de interés, más suave hacia los bordes; proporciones coherentes",
    ),
    "Conservar cada detalle indicado arriba tal cual",
)

PHRASES: Mapping[str, Phrases] = {
    "en": _ENGLISH,
    "de": _GERMAN,
    "fr": _FRENCH,
    "es": _SPANISH,
    "it": Phrases(
        Labels(
            "Scopo", "Scena", "Soggetto", "Dettagli chiave", "Luce e atmosfera",
            "Composizione", "Stile e tecnica", "Desideri", "Vincoli",
        ),
        "Nessuna filigrana, nessun testo aggiunto, nessun logo; disegno originale.",
        ("luce morbida e laterale", "luce calda con riflessi freddi nelle ombre", ("luce diffusa, ombre "
        "aperte")),
        ("vista ad altezza degli occhi", "vista di tre quarti", "centrata, con silhouette pulita"),
    ),
    "pt": Phrases(
        Labels(
            "Finalidade", "Cena", "Assunto", "Detalhes principais", "Luz e ambiente",
            "Composição", "Estilo e técnica", "Desejos", "Restrições",
        ),
        "Sem marca de água, sem texto adicional, sem logótipos; desenho original.",
        ("luz suave e lateral", "luz quente com reflexos frios nas sombras", "luz difusa, sombras abertas"),
        ("vista à altura dos olhos", "vista de três quartos", "centrado, com silhueta limpa"),
    ),
    "nl": Phrases(
        Labels(
            "Doel", "Scène", "Onderwerp", "Belangrijke details", "Licht en sfeer",
            "Compositie", "Stijl en techniek", "Wensen", "Voorwaarden",
        ),
        "Geen watermerk, geen extra tekst, geen logo's; eigen ontwerp.",
        ("zacht licht van opzij", "warm hoofdlicht met koele weerschijn in de schaduw", ("helder licht, "
        "open schaduw")),
        ("op ooghoogte gezien", "driekwart aanzicht", "gecentreerd, met een heldere omtrek"),
    ),
    "pl": Phrases(
        Labels(
            "Cel", "Scena", "Temat", "Ważne szczegóły", "Światło i nastrój",
            "Kompozycja", "Styl i technika", "Życzenia", "Ograniczenia",
        ),
        "Bez znaku wodnego, bez dodatkowego tekstu, bez logo; oryginalny projekt.",
        ("miękkie światło z boku", "ciepłe światło i chłodne cienie", "rozproszone światło, jasne cienie"),
        ("widok na wysokości oczu", "widok w trzech czwartych", "centralnie, z czystym konturem"),
    ),
    "ru": Phrases(
        Labels(
            "Цель", "Сцена", "Объект", "Важные детали", "Свет и настроение",
            "Композиция", "Стиль и техника", "Пожелания", "Ограничения",
        ),
        "Без водяных знаков, без лишнего текста, без логотипов; оригинальный дизайн.",
        ("мягкий боковой свет", "тёплый основной свет и прохладные тени", "рассеянный свет, открытые тени"),
        ("вид на уровне глаз", "вид в три четверти", "по центру, с чистым силуэтом"),
    ),
    "ja": Phrases(
        Labels("用途", "場面", "主題", "重要な特徴", "光と雰囲気", "構図", "画風と技法", "要望", "制約"),
        "透かしなし、余分な文字なし、ロゴなし。オリジナルのデザイン。",
        ("横からの柔らかな光", "暖かい主光と涼しげな影", "拡散した光と明るい影"),
        ("目の高さからの視点", "斜め前からの視点", "中央に配置し、輪郭をはっきり見せる"),
    ),
    "zh": Phrases(
        Labels("用途", "场景", "主体", "关键细节", "光线与氛围", "构图", "风格与媒介", "要求", "限制"),
        "无水印，无多余文字，无标志；原创设计。",
        ("柔和的侧光", "温暖的主光与偏冷的阴影", "漫射光，阴影通透"),
        ("平视视角", "四分之三侧视角", "居中构图，轮廓清晰"),
    ),
    "ko": Phrases(
        Labels("용도", "장면", "주제", "핵심 세부", "빛과 분위기", "구도", "스타일과 기법", "요청", "제약"),
        "워터마크 없음, 추가 글자 없음, 로고 없음. 독창적인 디자인.",
        ("옆에서 드는 부드러운 빛", "따뜻한 주광과 서늘한 그림자", "확산된 빛과 밝은 그림자"),
        ("눈높이 시점", "사분의 삼 측면 시점", "중앙 배치, 또렷한 윤곽"),
    ),
    "ar": Phrases(
        Labels(
            "الغرض", "المشهد", "الموضوع", "التفاصيل المهمة", "الضوء والجو",
            "التكوين", "الأسلوب والخامة", "الرغبات", "القيود",
        ),
        "بدون علامة مائية، بدون نص إضافي، بدون شعارات؛ تصميم أصلي.",
        ("ضوء جانبي ناعم", "ضوء دافئ وظلال باردة", "ضوء منتشر وظلال مفتوحة"),
        ("منظور بمستوى العين", "منظور ثلاثة أرباع", "في الوسط مع خط خارجي واضح"),
    ),
}  # fmt: skip

# Common words of each language. A text is in the language with the most matching words.
COMMON_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the a an of and with in on at is to for by from its his her under over who that",
        "de": "der die das ein eine einen einem einer und mit im am auf unter über vor bei zum zur ist sind "
        "nicht für aus dem den des kein roter rote rotes blauer grüner kleiner kleine kleines großer alte "
        "alter "
        "wald nacht hund katze fuchs haus meer neugierig mutig trägt",
        "fr": "le la les un une des du de et avec dans sur sous est au aux en pour par qui pas très rouge "
        "bleu "
        "vert petit petite grand grande vieux vieille forêt nuit chien chat renard maison mer curieux "
        "portant",
        "es": "el la los las un una unos de del y con en sobre bajo es al por para que muy rojo roja azul "
        "verde "
        "pequeño pequeña grande viejo vieja bosque noche perro gato zorro casa mar curioso valiente",
        "it": "il lo la gli le un uno una di del della dei e con nel nella su sotto è al per che molto "
        "rosso blu "
        "piccolo piccola grande vecchio bosco notte cane gatto volpe casa mare",
        "pt": "o os um uma de do da dos das e com no na em sobre sob é ao para que não muito vermelho "
        "azul verde "
        "pequeno pequena grande velho floresta noite cão gato raposa casa mar",
        "nl": "de het een van en met in op onder boven is aan bij voor uit niet zijn rode blauwe groene "
        "kleine "
        "grote oude bos nacht hond kat vos huis zee nieuwsgierig",
        "pl": "i w na z ze pod nad jest dla do się nie mały mała duży stary czerwony niebieski zielony "
        "las noc "
        "pies kot lis dom morze",
    }.items()
}
