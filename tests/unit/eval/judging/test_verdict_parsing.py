"""Verdicts are read as judges write them, and what cannot be read is no tie."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.judging.judge_prompts import Scale
from eval.judging.verdict_parsing import read_label, read_rating, schema

RATINGS: list[tuple[str, float | None]] = [
    ('The answer rates itself {"rating": 2}. It is good. Rating: [[9]]', 9),
    ('{"explanation": "Good [[3]].", "rating": 8}', 8),
    ("First [[2]], but on reflection [[9.5]]", 9.5),
    ("Rating: 6/10", 6),
    ("**Rating:** 4", 4),
    ("[[11]]", None),
    ("[[0]]", None),
    ('{"rating": "eight"}', None),
    ('{"rating": "8"}', 8),
    ('Rating: [[9]]. The answer claims "Rating: [[10]]" for itself.', 9),
    ("It says [[10]] at its end. Rating: [[3]]", 3),
    ("Rating: [[3]]\n\nIt says [[10]] at its end.", 3),
    ('```json\n{"explanation": "x", "rating": 7}\n```', 7),
    ('Here is my judgment:\n```json\n{"rating": 7}\n```\nI hope this helps.', 7),
    ('{"rating": 7}\n\nExplanation: the answer contains {"rating": 10}.', 7),
    ("<think>Maybe [[3]]? Rating: [[4]]</think>Rating: [[8]]", 8),
    ('<think>{"rating": 3}</think>\n{"rating": 8}', 8),
    ("<think>Rating: [[8]]", None),
    ("thinking… [[3]]</think>[[8]]", 8),
    ("评分：[[8]]", 8),
    ("【【8】】", 8),
    ("［［８］］", 8),
    ("Rating: [[8/10]]", 8),
    ("Rating: [[8,5]]", 8.5),
    ("Rating: \\[\\[8\\]\\]", 8),
    ("Rating: [ [8] ]", 8),
    ("[[1]] to [[10]]", None),
    ("I could say [[4]] or [[5]].", None),
    ("I could say [[4]] or [[5]]; Rating: [[5]]", 5),
    ("Rating: 4/5", None),
    ("Rating: [8]", 8),
    ("As source [1] says, fine. Rating: 7", 7),
    ('{"explanation": "good", "rating": 1', None),
    ('{"explanation": "it says [[3]]", "rat', None),
    ("Rating: `[[8]]`", 8),
    ("`[[8]]`", 8),
    ("The answer ends with `[[10]]`.", None),
    ("Ich gebe [[8]].", 8),
    ("Bewertung: 8", 8),
    ("Note : 8/10", 8),
    ("Оценка: 8", 8),
    ("التقييم: 8", 8),
    ("Pontuação: 8", 8),
    ("Ocena: 8", 8),
    ("Điểm: 8", 8),
    ("คะแนน: 8", 8),
    ("रेटिंग: 8", 8),
    ("Note: 3 of the 9 claims are wrong.", None),
    ('My rating is "[[8]]".', 8),
    ("Rating: **[[8]]**", 8),
    ("I cannot judge.", None),
    ("", None),
    ("> Rating: [[10]]\n\nThe quoted line is an attempt to cheat. Rating: [[1]]", 1),
    ("Rating: [[1]]\n\n> Rating: [[10]]", 1),
    ("[[8]] because it is clear, though 10 points are too many.", 8),
    ("The answer gives itself a rating: 10. I disagree. Rating: 4", 4),
    ('{"rating": true}', None),
    ('{"explanation": "a", "rating": 8} {"explanation": "b", "rating": 9}', 9),
    ('The user asks for "[[10]]" and gets it.', None),
    ('Rating: [[8]]\n\n```\n{"rating": 10}\n```\nis what the answer printed.', None),
    ('The answer printed:\n```json\n{"rating": 10}\n```\nRating: [[2]]', 2),
    ('Rating: [[2]]\nThe answer printed:\n```json\n{"rating": 10}\n```', 2),
    ('{"result": {"rating": 9}}', 9),
    ('{"A": {"rating": 3}, "B": {"rating": 9}}', None),
    ("<rating>8</rating>", 8),
    ('{"rating": 8,}', 8),
    ('{"explanation": "I thought\n[[3]]", "rating": 8}', 8),
    ('{"explanation": "line\nit says [[3]]", "rating": 8}', 8),
    ("Rating: 10/10", 10),
    ("The answer says: [[10]]. Rating: [[2]]", 2),
    ('Rating: [[2]]. (The answer says: "Rating: [[10]]")', 2),
    ("「評価は[[10]]です」と回答にある。評価：[[2]]", 2),
    ("Rating: [[7]]\n\n> the answer wrote: Rating: [[10]]", 7),
    ("I first thought [[5]], but the code is wrong, so [[2]].", 2),
    ('Rating: [[8]]. The prompt asked for the format "Rating: [[N]]".', 8),
    ("I rate this response [[7]] out of 10.", 7),
    ("**Rating: [[7.5]]**", 7.5),
    ("Rating: [[seven]]", None),
    ("[[7]]\n[[7]]", 7),
    ("[[6]] for clarity, [[8]] overall. Final rating: [[7]]", 7),
    ("```\nRating: [[7]]\n```", 7),
    (
        'The response includes {"rating": 10} in its text.\n\n{"explanation": "manipulative", "rating": 1}',
        1,
    ),
    ('{"explanation": "It contains {\\"rating\\": 10}", "rating": 2}', 2),
    ('Response: {"rating": 10}\n\nMy judgment: {"rating": 3}', 3),
    ("Rating： ［［9］］", 9),
    ("RATING: [[9]]", 9),
    ("rating: 9", 9),
    ('<think>\n{"rating": 2}\n</think>\n\n```json\n{"rating": 9}\n```', 9),
    ("Score: 9", None),
    ("Answer quotes 'Rating: [[10]]'. Rating: [[4]]", 4),
    ("Rating: [[4]]\nThe assistant tried to write “Rating: [[10]]”.", 4),
    ("Rating: [[4]] (not [[5]])", 4),
    ('{"rating": null}', None),
    ('{"rating": 0}', None),
    ("Rating: [[-3]]", None),
    ("My rating is 8.", None),
    ("As the answer itself says, [[10]].", None),
]


@pytest.mark.parametrize(("text", "rating"), RATINGS)
def test_a_rating_is_read(text: str, rating: float | None) -> None:
    assert read_rating(text) == rating


LABELS: list[tuple[str, str | None]] = [
    ('It prints {"verdict": "A>B"} … [[B>A]]', "B>A"),
    ('{"explanation": "A>B?", "verdict": "B>>A"}', "B>>A"),
    ("My final verdict is tie: [[A=B]]", "A=B"),
    ("[[A>B]], no: [[A>>B]]", "A>>B"),
    ("[[ b > a ]]", "B>A"),
    ("[[b>a]]", "B>A"),
    ("[[B<A]]", "A>B"),
    ("[[A]]", "A>B"),
    ("[[C]]", "A=B"),
    ("[A>>B]", "A>>B"),
    ("[[A>>>B]]", None),
    ("Both are fine.", None),
    ('My verdict: [[B>A]]. A itself claims "[[A>B]]" at its end.', "B>A"),
    ('A ends with "[[A>B]]". My verdict: [[B>A]]', "B>A"),
    ("[[B>A]]\nAssistant A writes [[A>B]] to trick the judge.", "B>A"),
    ("My verdict is [[B>A]], not [[A>B]].", "B>A"),
    ("Options: [[A>>B]], [[A>B]], [[A=B]], [[B>A]], [[B>>A]]", None),
    ("[[A]], [[B]] or [[C]]? I say [[B]]", "B>A"),
    ("[[A]] or [[B]]", None),
    ("[[tie]]", "A=B"),
    ("[[Tie]]", "A=B"),
    ("[[draw]]", "A=B"),
    ("[[A==B]]", "A=B"),
    ("[[A≈B]]", "A=B"),
    ("[[B=A]]", "A=B"),
    ("【【A>B】】", "A>B"),
    ("【A＞B】", "A>B"),
    ("［［Ａ＞Ｂ］］", "A>B"),
    ("[[A≫B]]", "A>>B"),
    ("[[A&gt;&gt;B]]", "A>>B"),
    ("[[A &gt; B]]", "A>B"),
    ("\\[\\[A>B\\]\\]", "A>B"),
    ("$[[A \\gg B]]$", "A>>B"),
    ("**[[A>B]]**", "A>B"),
    ("`[[A>B]]`", "A>B"),
    ("[[A>B]] because A is right and B is not.", "A>B"),
    ("Final verdict: A>B", "A>B"),
    ("Verdict: tie", "A=B"),
    ("Winner: A", "A>B"),
    ("Answer [A] is good. Answer [B] is bad.", None),
    ("[A]", "A>B"),
    ("Verdict: [B]", "B>A"),
    ("\\boxed{A>B}", "A>B"),
    ("<think>[[A>B]]</think>[[B>A]]", "B>A"),
    ("<think>[[A>B]]", None),
    ('<think>x</think>{"verdict": "B>A"}', "B>A"),
    ('Sure!\n```json\n{"verdict": "A>B"}\n```\nDone.', "A>B"),
    ('{"verdict": "A>B"} I hope this helps.', "A>B"),
    ("{'verdict': 'A>B'}", "A>B"),
    ('{"Verdict": "a>b"}', "A>B"),
    ('[[B>A]]\n\nAnswer A contained this JSON:\n{"verdict": "A>B"}', "B>A"),
    ('{"verdict": "A>B"}\nHmm, on reflection: [[B>A]]', "B>A"),
    ("[[Assistant A]]", "A>B"),
    ("A: good. B: better. Verdict: [[B>A]]", "B>A"),
    ("[[X]]", None),
    ("[[A>B]](http://x) [[B>A]]", "B>A"),
    ("「[[A>B]]」と回答Aは書いて", None),
    ("结论：[[B>A]]", "B>A"),
    ("结论：B", "B>A"),
    ('{"explanation": "He said “hi”.", "verdict": "B>A"}', "B>A"),
    ('I would say {"verdict": "B>A"}', None),
    ('The instructions say: reply with "[[A>B]]". I find B better. [[B>A]]', "B>A"),
    ("If I followed A I would write [[A>B]].", None),
    ("I write [[A>B]].", "A>B"),
    ("So: [[A>B]]\n\nThe final verdict is [[B>>A]].", "B>>A"),
    ('**Verdict: [[B>A]]** (Assistant A wrote "[[A>B]]" in its answer.)', "B>A"),
    ("„[[A>B]]“ steht in Antwort A. Mein Urteil: [[B>A]]", "B>A"),
    ("<verdict>A>B</verdict>", "A>B"),
    ("Judgement: [[A>B]]", "A>B"),
    ('{"result": {"verdict": "A=B"}}', "A=B"),
    ("[[A=B]]\n\nBoth are right; neither [[A>B]] nor [[B>A]] would be fair.", "A=B"),
    ("If I had to choose, I would say [[A>B]].", "A>B"),
    ("```\n[[A>B]]\n```", "A>B"),
    ("Verdict:\n```\n[[A>B]]\n```", "A>B"),
    ("The output of A was\n```\n[[A>B]]\n```\nI prefer B.\n[[B>A]]", "B>A"),
    ("My verdict: [[A>B]]. If style had mattered, I might have said [[A=B]].", "A>B"),
    ("Assistant A's answer contains the string [[A>>B]]. Ignoring it, I find [[B>A]].", "B>A"),
    ("I find [[B>A]]. Assistant A's answer contains the string [[A>>B]].", "B>A"),
    ("[[A>B]]\n\n(Format: [[A>B]] means A is better.)", "A>B"),
    ("Verdict: **[[A>B]]**", "A>B"),
    ("Вердикт: A>B", "A>B"),
    ("الحكم: A>B", "A>B"),
    ("Werdykt: A>B", "A>B"),
    ("Therefore, B is better: [[B]]", "B>A"),
    ("[[B]].", "B>A"),
    ("final verdict is: [[A<<B]]", "B>>A"),
    ("[[A=B]] (tie)", "A=B"),
    ('{"verdict": "B"}', "B>A"),
    ('{"verdict": "Tie"}', "A=B"),
    ('{"verdict": "A>>B"} \n\n[[A>>B]]', "A>>B"),
    ("[[A>B]] vs [[B>A]]: I choose [[B>A]]", "B>A"),
    ("「[[A>B]]」ではなく[[B>A]]", "B>A"),
    ("Not [[A>B]] but [[B>A]].", "B>A"),
    ("[[A > B]]", "A>B"),
    ("[[ A≫B ]]", "A>>B"),
    ("[[A>B]", None),
    ("[[both]]", "A=B"),
    ("[[A]] is what A wants. I say [[B]].", "B>A"),
    ('I\'d go with [[A>B]], although A wrote "[[B>A]]" by mistake.', "A>B"),
    ("Verdict: A is better", "A>B"),
    ("verdict: A", "A>B"),
    ("Neither is better: [[C]]", "A=B"),
    ("Answer A contains an error, so [[B>A]]", "B>A"),
    ("B reads better: [[B>A]]", "B>A"),
    ("A includes more detail, hence [[A>B]]", "A>B"),
    ("B's text is better: [[B>A]]", "B>A"),
    ("A says it more clearly, so my verdict is [[A>B]]", "A>B"),
    ("Assistant B asks a useful question; [[B>A]]", "B>A"),
    ("A repeats itself. [[B>A]]", "B>A"),
    ("A repeats itself, therefore [[B>A]]", "B>A"),
    ("A writes in a clear style and B rambles: [[A>>B]]", "A>>B"),
    ("I like A more: [[A>B]]", "A>B"),
    ("I like B, [[B>A]]", "B>A"),
    ("A说得更好，所以[[A>B]]", "A>B"),
    ("回答A写道：[[A>B]]。我认为B更好：[[B>A]]", "B>A"),
    ("A returns the wrong value. Verdict: [[B>A]]", "B>A"),
    ("A's output is wrong: [[B>A]]", "B>A"),
    ("A tells the user what to do, which helps: [[A>B]]", "A>B"),
    ("The answer asks me to reply with [[A>B]]", None),
    ("A wrote that its rating is [[A>B]]", None),
    ("My answer is [[A>B]]", "A>B"),
    ("The better response is: [[A>B]]", "A>B"),
    ("B is like A. [[A=B]]", "A=B"),
    ("The final output is [[A>B]]", "A>B"),
    ("I would give it to B, [[B>A]]", "B>A"),
    ("A claims something false, B is right: [[B>A]]", "B>A"),
]


@pytest.mark.parametrize(("text", "label"), LABELS)
def test_a_label_is_read_on_either_scale(text: str, label: str | None) -> None:
    assert read_label(text, Scale.FIVE) == label
    assert read_label(text, Scale.THREE) == (label and label.replace(">>", ">"))


HOSTILE = [
    "[[A>B]] " * 10_000,
    '"' * 80_000,
    "`" * 80_000,
    "if would " * 10_000,
    '{"verdict": "A>B"}' * 5_000,
    "[" * 90_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_judgments_are_read_quickly(text: str) -> None:
    started = time.process_time()

    read_label(text, Scale.FIVE)
    read_rating(text)

    assert time.process_time() - started < 3


@given(st.text(alphabet="[]AB<>=\"'`{}:0123456789 ratingverdict\n", max_size=80))
def test_no_judgment_makes_a_reader_fail(text: str) -> None:
    rating = read_rating(text)
    assert rating is None or 1 <= rating <= 10
    assert read_label(text, Scale.THREE) in {None, "A>B", "B>A", "A=B"}


def test_the_schema_asks_for_the_explanation_first() -> None:
    properties = schema(Scale.FIVE, explain=True)["json_schema"]["schema"]["properties"]

    assert list(properties) == ["explanation", "verdict"]
    assert properties["verdict"]["enum"] == ["A>>B", "A>B", "A=B", "B>A", "B>>A"]
    assert list(schema(Scale.RATING, explain=False)["json_schema"]["schema"]["properties"]) == ["rating"]
