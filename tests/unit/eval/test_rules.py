"""Rules on the form of a reply hold and fail where a person would say so."""

import pytest
from pydantic import ValidationError

from eval.languages import LANGUAGES, identify_language
from eval.rules import Rule, count_sentences, is_met


def met(rule: dict[str, object], reply: str) -> bool:
    return is_met(Rule.model_validate(rule), reply)


@pytest.mark.parametrize(
    ("rule", "reply"),
    [
        ({"max_words": 3}, "one two three"),
        ({"min_words": 3}, "one two three"),
        ({"lines": 3}, "The pond\n\nis frozen\n  \nover"),
        ({"lines": 2}, "```\none\ntwo\n```"),
        ({"max_lines": 2}, "one\ntwo"),
        ({"bullets": 3}, "- one\n* two\n• three"),
        ({"bullets": 2}, "Here:\n- **one**\n-two"),
        ({"sentences": 2}, "It is late. We go!"),
        ({"sentences": 1}, "no punctuation at all"),
        ({"includes": ["dawn", "River"]}, "At DAWN the rivers rise"),
        ({"includes": ["35 cm"]}, "It is 35 cm long."),
        ({"includes": ["Drizzle & Daughters"]}, "Drizzle & Daughters!"),
        ({"excludes": ["very"]}, "every bakery"),
        ({"excludes": ["```", "def "]}, "Hello, defenders!"),
        ({"starts_with": "Dear"}, "Dear Ms. Okafor"),
        ({"starts_with": "Very good, sir"}, "**Very good, sir.** It is packed."),
        ({"starts_with": "Dawn"}, '"Dawn breaks"'),
        ({"ends_with": "?"}, 'She asked: "Why?"'),
        ({"ends_with": "Tom"}, "Yours, Tom."),
        ({"ends_with": "zorp."}, "Splendid, zorp."),
        ({"ends_with": "and so the town awoke."}, "...\nAnd so the town awoke."),
        ({"language": "de"}, "Im Herbst fallen die Blätter von den Bäumen. Es wird kühl."),
    ],
)
def test_a_rule_is_met(rule: dict[str, object], reply: str) -> None:
    assert met(rule, reply)


@pytest.mark.parametrize(
    ("rule", "reply"),
    [
        ({"max_words": 3}, "one two three four"),
        ({"min_words": 3}, "one two"),
        ({"lines": 3}, "one\ntwo"),
        ({"max_lines": 1}, "one\ntwo"),
        ({"bullets": 2}, "- one\n- two\n- three"),
        ({"bullets": 1}, "**bold** is no bullet"),
        ({"bullets": 1}, "---\nrule"),
        ({"sentences": 1}, "One. Two."),
        ({"includes": ["tea"]}, "our team"),
        ({"includes": ["dawn", "river"]}, "dawn"),
        ({"excludes": ["very"]}, "Very well"),
        ({"excludes": ["```"]}, "```\ncode\n```"),
        ({"starts_with": "Dear"}, "Hello, dear"),
        ({"ends_with": "?"}, "Why? Because."),
        ({"ends_with": "Tom"}, "at the bottom"),
        ({"language": "de"}, "In autumn the leaves fall from the trees."),
    ],
)
def test_a_rule_is_broken(rule: dict[str, object], reply: str) -> None:
    assert not met(rule, reply)


@pytest.mark.parametrize("reply", ["", "   ", "...", "```\n```", "🙂"])
@pytest.mark.parametrize(
    "rule", [{"max_words": 40}, {"excludes": ["very"]}, {"max_lines": 3}, {"max_words": 0}]
)
def test_a_reply_without_words_meets_no_rule(rule: dict[str, object], reply: str) -> None:
    assert not met(rule, reply)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"max_words": 3, "min_words": 1},
        {"max_words": "3"},
        {"max_words": -1},
        {"max_words": None},
        {"includes": []},
        {"includes": [" "]},
        {"includes": "dawn"},
        {"words": 3},
        {"language": "xx"},
    ],
)
def test_what_is_no_rule_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(rule)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dear Ms. Okafor, your order is late. Sorry!", 2),
        ("It costs 3.50 euros.", 1),
        ("Wait... what?! No.", 3),
        ("1. First point\n2. Second point", 2),
        ("これは本です。あれは猫です。", 2),
        ('He said "Stop." Then he left.', 2),
        ("e.g. apples and pears", 1),
        ("", 0),
    ],
)
def test_sentences_are_counted(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


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
