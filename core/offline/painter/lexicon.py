"""The lexicon: the words that the painter understands in English, German, French and Spanish."""

from __future__ import annotations

from collections.abc import Mapping

Lexicon = Mapping[str, str]
"""Maps each concept to the words for it, separated by spaces. In a phrase, `_` stands for the space."""

SCENES: Lexicon = {
    "plain": "plain_background plain_backdrop white_background studio seamless backdrop neutral_background "
    "einfarbiger_hintergrund schlichter_hintergrund fond_uni fondo_liso",
    "underwater": "underwater reef coral seabed unterwasser riff sous_l'eau récif submarino arrecife",
    "space": "space galaxy planet orbit moon_surface cosmos nebula asteroid weltall weltraum galaxie espace "
    "espacio galaxia mars universe universum univers universo",
    "sea": "sea ocean beach coast shore harbour harbor island waves lake river meer ozean strand küste "
    "see insel "
    "hafen mer océan plage côte île playa océano costa isla puerto lago lac fluss rivière río bay cove",
    "forest": "forest wood woods woodland jungle grove clearing wald dschungel lichtung forêt bois clairière "
    "bosque selva claro",
    "mountains": "mountain mountains alps peak peaks cliff valley hill hills summit berg berge gebirge "
    "tal hügel "
    "gipfel montagne montagnes vallée colline montaña montañas valle colina",
    "desert": "desert dune dunes sahara canyon wüste düne dünen désert désierto desierto dunas sand",
    "city": "city town street skyline downtown skyscraper skyscrapers alley rooftop market metropolis stadt "
    "straße gasse dach ville rue ruelle toit ciudad calle tejado",
    "room": "room kitchen indoors interior library bedroom workshop cosy cozy window_seat desk table café "
    "cafe "
    "shop zimmer küche stube werkstatt bibliothek tisch schreibtisch pièce chambre cuisine atelier bureau "
    "bibliothèque habitación cocina taller biblioteca mesa laboratory lab",
    "sky": "sky clouds cloud heaven himmel wolken wolke ciel nuage nuages cielo nubes nube flying_high",
    "garden": "garden meadow field park grass lawn flowers orchard garten wiese feld gras blumenwiese jardin "
    "prairie pré champ jardín prado campo hierba farm",
}

SUBJECTS: Lexicon = {
    "fox": "fox vixen fuchs füchsin renard renarde zorro zorra",
    "cat": "cat kitten kitty katze kater kätzchen chat chatte chaton gato gata gatito tiger panther",
    "dog": "dog puppy hound corgi terrier wolf hund welpe chien chiot loup perro perra cachorro lobo",
    "rabbit": "rabbit bunny hare hase kaninchen lapin lièvre conejo liebre",
    "bear": "bear panda teddy bär ours oso koala",
    "owl": "owl eule kauz hibou chouette búho lechuza",
    "bird": "bird robin sparrow parrot finch songbird raven crow vogel rabe oiseau corbeau pájaro ave "
    "cuervo duck "
    "chicken ente canard pato",
    "penguin": "penguin pinguin pingouin manchot pingüino",
    "fish": "fish goldfish koi shark fisch poisson pez pescado whale dolphin wal delfin baleine dauphin "
    "ballena",
    "turtle": "turtle tortoise schildkröte tortue tortuga",
    "butterfly": "butterfly moth schmetterling papillon mariposa",
    "dragon": "dragon dinosaur drache drachen dino dinosaurier dinosaure dragón dinosaurio",
    "robot": "robot android cyborg droid roboter automat automate mech",
    "knight": "knight warrior ritter krieger kriegerin chevalier guerrier caballero guerrero samurai",
    "wizard": "wizard witch mage sorcerer sorceress zauberer hexe zauberin magier magicien sorcier "
    "sorcière mago "
    "bruja hechicero",
    "astronaut": "astronaut cosmonaut raumfahrer astronautin astronaute astronauta",
    "woman": "woman girl lady queen princess mother she frau mädchen königin prinzessin femme fille reine "
    "princesse mujer chica niña reina princesa heroine",
    "man": "man boy king prince father sailor captain chef person child kid baker detective mann junge könig "
    "prinz kapitän mensch kind homme garçon roi capitaine personne enfant hombre chico niño rey capitán "
    "persona "
    "portrait_of_a hero",
    "rocket": "rocket spaceship spacecraft shuttle rakete raumschiff fusée vaisseau cohete nave",
    "balloon": "balloon airship ballon luftschiff heißluftballon montgolfière globo zeppelin",
    "boat": "boat ship sailboat yacht vessel boot schiff segelboot bateau navire voilier barco velero buque",
    "car": "car automobile truck van taxi auto wagen voiture camion coche carro furgoneta bus",
    "bicycle": "bicycle bike fahrrad vélo bicyclette bicicleta",
    "lighthouse": "lighthouse leuchtturm phare faro tower turm",
    "castle": "castle fortress palace burg schloss festung château forteresse palais castillo fortaleza "
    "palacio",
    "house": "house cottage cabin hut home haus hütte häuschen maison cabane chaumière casa cabaña",
    "teapot": "teapot kettle teekanne théière tetera",
    "cup": "cup mug tea coffee tasse becher kaffee café_crème taza café_con_leche",
    "bottle": "bottle vase potion perfume flask jar flasche parfum bouteille flacon botella frasco "
    "perfume_bottle",
    "lamp": "lamp lantern lampe laterne lanterne lámpara linterna candle kerze bougie vela",
    "chair": "chair armchair throne stuhl sessel chaise fauteuil silla sillón",
    "book": "book books notebook buch bücher livre livres libro libros",
    "clock": "clock watch uhr wecker horloge montre reloj",
    "shoe": "shoe sneaker boot trainers schuh turnschuh stiefel chaussure basket zapato zapatilla bota",
    "cake": "cake cupcake kuchen torte gâteau pastel tarta dessert",
    "guitar": "guitar violin ukulele gitarre geige guitare violon guitarra violín",
    "apple": "apple fruit peach apfel obst pomme manzana fruta orange_fruit",
    "mushroom": "mushroom toadstool pilz fliegenpilz champignon seta hongo",
    "crystal": "crystal gem diamond jewel ring kristall edelstein juwel cristal gemme bijou gema joya",
    "tree": "tree oak pine bonsai baum eiche arbre chêne árbol roble",
    "flower": "flower rose tulip sunflower lotus lily blume rose tulpe sonnenblume fleur tulipe flor girasol",
    "cactus": "cactus kaktus succulent",
    "snowman": "snowman schneemann bonhomme_de_neige muñeco_de_nieve",
    "ghost": "ghost spirit gespenst geist fantôme fantasma",
    "star": "star stern étoile estrella",
    "heart": "heart herz cœur coeur corazón",
}
BEINGS = frozenset(list(SUBJECTS)[: list(SUBJECTS).index("rocket")])
"""Animals and people. They are chosen before objects: "under a tree, a fox" is a picture of the fox."""

HOURS: Lexicon = {
    "night": "night midnight moonlight moonlit moon starry stars starlight nighttime nacht mitternacht "
    "mondlicht "
    "mond sterne sternenhimmel nuit minuit lune étoiles étoilé noche medianoche luna estrellas nachts",
    "dawn": "dawn sunrise morning daybreak morgen morgens sonnenaufgang morgendämmerung aube matin "
    "lever_du_soleil "
    "amanecer mañana alba",
    "sunset": "sunset dusk evening golden_hour twilight abend abends sonnenuntergang dämmerung abendrot soir "
    "coucher_de_soleil crépuscule atardecer puesta_de_sol ocaso tarde",
    "day": "day noon sunny daylight sunshine midday tag mittag sonnig sonne jour midi ensoleillé soleil día "
    "mediodía soleado sol",
}

WEATHERS: Lexicon = {
    "rain": "rain rainy raining storm stormy thunderstorm regen regnerisch sturm stürmisch gewitter pluie "
    "pluvieux "
    "orage tempête lluvia lluvioso tormenta",
    "snow": "snow snowy snowing winter frost icy ice schnee verschneit winterlich eis neige hiver glace "
    "nieve "
    "invierno nevado hielo",
    "fog": "fog foggy mist misty haze hazy nebel neblig dunst brume brouillard brumeux niebla bruma brumoso",
}

MOODS: Lexicon = {
    "autumn": "autumn fall_leaves autumnal herbst herbstlich automne otoño",
    "winter": "winter frosty wintry snowy snow winterlich verschneit schnee hiver neige invierno nieve",
    "pastel": "pastel pastels soft_colours soft_colors pastell pastellfarben tendre tierno dreamy verträumt",
    "neon": "neon cyberpunk synthwave neonlicht néon neón vaporwave",
    "dark": "dark gloomy moody noir sombre sinister spooky dunkel düster unheimlich oscuro sombrío "
    "lúgubre eerie",
    "cheerful": "cheerful happy joyful bright vivid vibrant colourful colorful fröhlich bunt heiter "
    "leuchtend joyeux "
    "coloré vif alegre colorido vivo",
    "calm": "calm quiet peaceful serene tranquil gentle ruhig friedlich still sanft calme paisible serein "
    "tranquilo sereno apacible",
}

COLOURS: Lexicon = {
    "red": "red crimson scarlet ruby rot rote roter rotes roten rouge rouges rojo roja rojos",
    "orange": "orange amber tangerine orangefarben naranja ámbar",
    "yellow": "yellow lemon gelb gelbe gelber gelbes gelben jaune amarillo amarilla",
    "gold": "gold golden goldene goldener goldenes doré dorée dorado dorada oro",
    "green": "green emerald mint olive grün grüne grüner grünes grünen vert verte verde",
    "teal": "teal turquoise cyan aqua türkis turquesa",
    "blue": "blue azure navy indigo cobalt blau blaue blauer blaues blauen bleu bleue azul",
    "purple": "purple violet lilac lavender lila violett violette morado morada púrpura violeta",
    "pink": "pink magenta rosé rosa fuchsia rose_coloured",
    "brown": "brown chestnut bronze copper braun braune brauner braunes marron brun marrón",
    "white": "white ivory snow-white weiß weiße weißer weißes blanc blanche blanco blanca",
    "black": "black ebony onyx schwarz schwarze schwarzer schwarzes noir noire negro negra",
    "grey": "grey gray silver silvery grau graue grauer silbern gris argenté plateado",
}

STYLE_WORDS: Lexicon = {
    "photo": "photo photograph photorealistic photography foto fotografie photographie fotografía",
    "cinematic": "cinematic film_still movie_still filmisch cinématographique cinematográfico",
    "product": "product_photo product_shot product_photograph packshot produktfoto",
    "watercolour": "watercolour watercolor aquarell aquarelle acuarela",
    "oil": "oil_painting impasto ölgemälde ölmalerei peinture_à_l'huile óleo",
    "ink": "ink_drawing ink tusche tuschezeichnung encre tinta",
    "pencil": "pencil graphite sketch bleistift bleistiftzeichnung skizze crayon croquis lápiz boceto",
    "pixel": "pixel_art pixel 8-bit 16-bit pixelkunst",
    "lowpoly": "low_poly lowpoly low-poly",
    "comic": "comic comic_book halftone bande_dessinée cómic",
    "flat": "flat_vector vector flat_design vektorgrafik vectoriel vectorial",
    "isometric": "isometric isometrisch isométrique isométrico",
    "clay": "clay claymation plasticine knete knetfigur pâte_à_modeler plastilina",
    "papercut": "paper_cut papercut cut_paper scherenschnitt papier_découpé papel_recortado",
    "cel": "cel-shaded cel_shading cel-shading anime",
    "poster": "poster screen_print plakat siebdruck affiche sérigraphie cartel",
    "stained": "stained_glass glasmalerei buntglas vitrail vidriera",
    "blueprint": "blueprint technical_drawing blaupause plan_technique plano_técnico",
}
