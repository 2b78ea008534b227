"""How replies say in many languages that something is their answer: patterns for text that
`base.text_folding.normalise` gave, to be compiled without regard to case.
"""

from base.phrases import LATIN
from base.text_folding import normalise

_EDGE_BEFORE, _EDGE_AFTER = rf"(?<![{LATIN}\d_])", rf"(?![{LATIN}\d_])"


def _any_of(words: str) -> str:
    return "|".join(each.strip().replace(" ", r"\s") for each in normalise(words).split(","))


def _pattern(whole: str, anywhere: str) -> str:
    """Any of `whole`, as words in Latin letters, or of `anywhere`."""
    return f"(?:{_EDGE_BEFORE}(?:{_any_of(whole)}){_EDGE_AFTER}|{_any_of(anywhere)})"


ANSWER = _pattern(
    "answers?, ans, solution, result, antwort, lösung, ergebnis, réponse, résultat, respuesta, "
    "resultado, solución, risposta, risultato, resposta, antwoord, svaret, svar, "
    "vastaus, odpowied[źz], odpowiedzią, odpově[ďd], odpoveď, odgovor, "
    "cevap, cevabı, cevabım, yanıt, sonuç, răspuns, răspunsul, válasz, jawaban, "
    "jawabannya, jibu, đáp án, câu trả lời, kết quả",
    "ответ(?:ом)?, відповідь, результат, отговор(?:ът)?, απάντηση, الإجابة, الاجابة, إجابة, "
    "الجواب, جواب, النتيجة, תשובה, پاسخ, उत्तर, जवाब, উত্তর, 答案, 答え, 正解, 解答, 回答, 结果, "
    "結果, 答, 정답, 답, 결과, คำตอบ, ຄຳຕອບ, ចម្លើយ, အဖြေ",
)
"""A word for "answer"."""

IS = _pattern(
    "is, was, would be, should be, must be, will be, equals, ist, lautet, wäre, es, sería, est, "
    "serait, è, é, seria, sarebbe, är, er, jest, brzmi, adalah, ialah, là, este, ni, "
    "(?<=odpowiedź )to, (?<=vastaus )on, (?<=odpověď )je, (?<=odpoveď )je, (?<=odgovor )je",
    "это, является, є, είναι, هو, هي, היא, הוא, است, है, হল, হলো, 应该是, 應該是, 应为, 應為, "
    "就是, 是, 为, 為, 等于, 等於, は, が, 은, 는, 이, คือ, ແມ່ນ, គឺ, မှာ",
)
"""What stands between it and the answer."""

NOT = _pattern(
    "not, neither, nor, nicht, weder, noch, kein, keine, pas, no, non, não, inte, ikke, niet, nie, ei",
    r"n't, (?<!\w)не(?!\w), (?<!\w)ни(?!\w), 不选, 不選, 不是, 不为, 并非, 並非, 而非, 非, 不",
)
"""What denies the answer after it."""

DENIED = (
    r"(?:\s{0,2}(?:"
    + _any_of(
        "is not, isn't, (?:is|are|was|were|looks|seems) (?:wrong|incorrect|false|ruled out), "
        "(?:ist|sind) falsch, ist nicht, (?:est|sont) fau, est incorrect, n'est pas, no es, "
        "es incorrect, es fals, è sbagliat, è errat, non è, está errad, não é, неверн, неправ, değil, "
        "yanlış, salah, sai, 是错, 是錯, 错, 錯, 都错, 都錯, 都不, 都是错, 不对, 不對, 不正确, 不正確, "
        "误, 誤, ではな, じゃな, でな, は誤, は間違, は違, 가 아니, 이 아니, 는 아니, 은 아니, 는 틀, 은 틀"
    )
    + "))"
)
"""What denies the answer before it."""

_BE = _any_of("is, ist, est, es, è, é, está, är, er, jest, là, adalah")
_THE = _any_of("the, most, my, final, a, la, le, il, el, o, die, der, das, het, de, den, câu, jawaban")
_GOOD = _any_of(
    "correct, right, best, true, richtig, korrekt, bonne, juste, corret, giust, juist, goed, rätt, "
    "riktig, poprawn, đúng, benar, answer, antwort, réponse, respuesta, risposta, resposta"
)
RIGHT = (
    rf"(?:\s{{1,3}}(?:{_BE})(?:\s(?:{_THE})){{0,2}}\s(?:{_GOOD})|\s?-?\s?(?:верн|правильн)"
    r"|(?:才|項|项)?(?:是|为|為)?(?:正确|正確|对的|對的|正解)|が正|(?:이|가|은|는)?\s?(?:정답|맞))"
)
"""What confirms the answer before it."""

_CORRECT = _any_of("correct[ao]?, correcte, esatta, certa, đúng, benar, tepat, صحیح, درست, صحيحة, सही")
ADJECTIVE = rf"(?:\s(?:{_CORRECT})(?!\w))"
"""What may stand between "answer" and the letter."""

ARTICLE = rf"(?:\s(?:{_any_of('the, option, die, der, das, den, la, le, el, il, o, a, den')})(?=[\s*_(\"'`]))"
"""What may stand before the answer's letter."""

OPTION = (
    "(?:"
    + _any_of(
        "option, letter, choice, alternative, buchstabe, lettre, opción, letra, inciso, opzione, "
        "lettera, opção, alternativa, alternativ, optie, opcja, možnost, вариант, варіант, "
        "буква, seçenek, şık, pilihan, opsi, phương án, lựa chọn, विकल्प, الخيار, 选项, 選項, "
        "選択肢, 項, 项, 보기, 선택지, ตัวเลือก, ข้อ"
    )
    + ")"
)
"""A word for one of the options."""

CHOSEN = _pattern(
    "choose, chose, choosing, select, pick, go with, wähle, nehme, choisis, elijo, escojo, "
    "scelgo, escolho, kies, väljer, wybieram, pilih, chọn",
    "выбираю, обираю, 选择(?!题|項|项), 選擇(?!題), 选(?!项|择|题), 選(?!項|擇|択|題|ば), 選ぶ, เลือก, ตอบ",
)
"""A word for choosing one."""

RECONSIDERED = _pattern(
    "wait, actually, on second thoughts?, on reflection, correction, scratch that, i was wrong, "
    "i made a mistake, let me correct, warte, moment mal, korrektur, eigentlich, attendez, "
    "attends, en fait, espera, en realidad, corrección, aspetta, in realtà, na verdade",
    r"(?<=[?.!])\s+no[\x2c.](?=\s), подожд, на самом деле, 等等, 等一下, 不对, 不對, 更正, 纠正, "
    "待って, いや, 訂正, 잠깐, 아니",
)
"""Where a reply takes back what it said."""

IT_IS = _pattern(
    "it's, it is, it was, it should be, it must be, it would be, that's, that is, this is, "
    "which is, es ist, es sollte, sollte, c'est, es, debería ser, debe ser, deve essere, deve ser",
    "应该是, 應該是, 应为, 應為, 而是, 是, は, が, =",
)
"""What a corrected answer follows."""

LABEL = (
    r"(?:(?:the|die|la|der|le|il)\s|最终|最終|正确|正確|最後の)?(?:(?:final|correct|richtige|bonne)\s)?"
    rf"(?:{ANSWER}|output|ausgabe|sortie|salida|输出|輸出|出力)(?:\s?:|\s?{IS}\s?:?)\s*"
)
"""What may stand before an answer that is the whole reply."""

ENDING = normalise("(?:です|である|だ|입니다|이다|이에요|예요|ครับ|ค่ะ)")
"""What may stand behind it then."""
