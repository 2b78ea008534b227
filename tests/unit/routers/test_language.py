"""A text's language is told by script and common words, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routers.language import CHARACTERS, LANGUAGES, identify_language

LANGUAGE_SAMPLES = {
    "ar": "الطقس جميل اليوم وسنذهب إلى الحديقة مع الأصدقاء.",
    "cs": "Dnes je venku krásně a po obědě půjdeme do parku, ale večer má pršet.",
    "da": "Jeg ved ikke, hvad han vil have af mig, men vi har ikke meget tid efter mødet.",
    "de": "Die Stadt ist im Herbst besonders schön, weil die Blätter bunt werden.",
    "el": "Ο καιρός είναι καλός σήμερα και θα πάμε στη θάλασσα.",
    "en": "The weather is fine today and we will go to the park with our friends.",
    "es": "El tiempo es muy bueno hoy y vamos a ir al parque con los amigos.",
    "fa": "هوا امروز خوب است و ما با دوستان به پارک می‌رویم و چای می‌نوشیم، پس بیا.",
    "fi": "Tänään on kaunis sää, ja me menemme puistoon, mutta illalla ei ole aikaa.",
    "fr": "Lyon est une ville traversée par un fleuve et connue pour sa cuisine.",
    "he": "מזג האוויר יפה היום ואנחנו הולכים לפארק.",
    "hi": "आज मौसम अच्छा है और हम बगीचे में जाएंगे।",
    "hu": "Ma szép az idő, és a barátaimmal egy nagyon jó helyre megyünk, de nem sokáig.",
    "id": "Cuaca hari ini baik dan kami akan pergi ke taman dengan teman yang lama tidak bertemu.",
    "it": "Oggi il tempo è bello e andiamo al parco con gli amici, ma non per molto.",
    "ja": "今日は天気がいいので、公園に行きます。",
    "ko": "오늘은 날씨가 좋아서 공원에 갑니다.",
    "nl": "Het weer is vandaag goed en wij gaan met de kinderen naar het park, maar niet lang.",
    "no": "Jeg tror ikke at vi har tid nok til møtet, og jeg vil heller være hjemme nå.",
    "pl": "Dzisiaj jest ładna pogoda i idziemy do parku, ale nie na długo, bo się ściemnia.",
    "pt": "O tempo está bom hoje e nós vamos ao parque com os amigos, mas não por muito tempo.",
    "ro": "Vremea este frumoasă și mergem în parc cu prietenii, dar nu pentru mult timp.",
    "ru": "Сегодня хорошая погода, и мы идём в парк с друзьями.",
    "sv": "Jag tycker inte att det är en bra idé, för vi har inte tid och det är för sent.",
    "th": "วันนี้อากาศดีและเราจะไปสวนสาธารณะ",
    "tr": "Bugün hava çok güzel ve biz arkadaşlar ile parka gidiyoruz, ama uzun değil.",
    "uk": "Сьогодні гарна погода, і ми йдемо до парку з друзями, їмо морозиво.",
    "vi": "Hôm nay trời đẹp và chúng tôi sẽ đi công viên với những người bạn của mình.",
    "zh": "今天天气很好，我们去公园。",
}


def test_there_is_a_sample_of_every_language() -> None:
    assert set(LANGUAGE_SAMPLES) == LANGUAGES


@pytest.mark.parametrize("code", sorted(LANGUAGE_SAMPLES))
def test_a_sentence_of_each_language_is_recognised(code: str) -> None:
    assert identify_language(LANGUAGE_SAMPLES[code]) == code


@pytest.mark.parametrize("text", ["", "42", "!!!", "xkcd qwrt"])
def test_a_text_of_no_known_language_has_none(text: str) -> None:
    assert identify_language(text) is None


def test_a_foreign_name_does_not_turn_the_language_of_a_text() -> None:
    assert identify_language("The city of 北京 is large, and the people there like to eat out.") == "en"
    assert identify_language("Das Café in der Straße ist seit dem Morgen zu, und wir sind müde.") == "de"


@pytest.mark.parametrize("code", sorted(LANGUAGE_SAMPLES))
def test_neither_case_nor_length_changes_the_language(code: str) -> None:
    sample = LANGUAGE_SAMPLES[code]
    assert identify_language((sample + " ") * 200) == code
    if code != "tr":  # its dotless i has no single upper case
        assert identify_language(sample.upper()) == code


def test_what_lies_far_behind_is_not_read() -> None:
    german = LANGUAGE_SAMPLES["de"]
    assert identify_language(LANGUAGE_SAMPLES["en"] + " " * CHARACTERS + german * 100) == "en"


@given(st.text())
def test_any_text_has_one_known_language_or_none(text: str) -> None:
    found = identify_language(text)
    assert found is None or found in LANGUAGES
    assert identify_language(text) == found
