"""What one machine saw and decided: embeddings and decisions that every other machine has to repeat.

After the encoder or a shipped composition was changed on purpose, write both anew:

    python -m tests.integration.routers.reference

`test_encoder` and `test_compositions` compare. To see another instruction set than this machine's,
run them under an emulator, as in `qemu-x86_64 -cpu Haswell-noTSX .venv/bin/python -m pytest -k stored
tests/integration/routers` (AVX2 without VNNI; a few minutes).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from prompts.seeds import load_seeds
from routers.composition import load_composition
from routers.encoder import Encoder, load_encoder
from routers.request import Matrix, Request, Turn
from routers.router import Router

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "reference_vectors.npy"
DECISIONS = HERE / "reference_decisions.json"
COMPOSITIONS = HERE.parents[2] / "routers" / "compositions"
PROFILES = ("cpu", "gpu", "tiny")

PASSAGE = (
    "The committee met on Tuesday to discuss the river flood defences, the cost of the new pumping "
    "station, and whether the old mill could be restored before the winter storms arrive. "
)
TEXTS = {
    "short": "What is the capital of France?",
    "one word": "hi",
    "shouting": "WHY DOES MY CODE NOT COMPILE???",
    "typos": "pleese sumarise teh folowing artcle",
    "German": "Könnten Sie mir bitte erklären, wie die Photosynthese funktioniert?",
    "French": "Écris une lettre d'excuses à mon propriétaire pour le loyer en retard.",
    "Spanish": "¿Cuál es la diferencia entre «ser» y «estar»?",
    "Russian": "Напиши короткое стихотворение о зиме и старом доме.",
    "Arabic": "ما هي عاصمة المغرب وكم عدد سكانها؟",
    "Chinese": "请把这段话翻译成英文,并解释其中的成语。",
    "Japanese": "東京から京都まで新幹線でどのくらいかかりますか。",
    "Hindi": "मुझे दाल बनाने की विधि बताइए।",
    "emoji": "I feel 😀🎉 but also 😭 — help? 👩🏽‍💻",
    "code": "def f(xs):\n    return [x ** 2 for x in xs if x % 2]\n\n# why is this slow for 10_000_000?",
    "SQL": "SELECT c.name, SUM(o.total) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY 1;",
    "table": "| city | people |\n|---|---|\n| Oslo | 709,037 |\n| Bergen | 291,940 |\n\nwhich is larger?",
    "mathematics": "Prove that $\\sum_{k=1}^{n} k = \\frac{n(n+1)}{2}$ for all n ≥ 1.",
    "numbers": "17 * 23 + 4.5e-3 / 0.25 = ?",
    "a page": PASSAGE * 7,
}


def many_words(count: int) -> list[str]:
    """Words of PASSAGE in random order, the same each time."""
    vocabulary = PASSAGE.replace(",", "").replace(".", "").split()
    random = np.random.default_rng(0)
    return [str(word) for word in random.choice(vocabulary, count)]


def vectors(encoder: Encoder) -> Matrix:
    """Embeddings of TEXTS and of one text of several windows: shape (len(TEXTS) + 1, dimension)."""
    return encoder.encode([*TEXTS.values(), " ".join(many_words(400))])


def decisions(encoder: Encoder) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Profile → prompt's name → category, expert and reason, of TEXTS and of every sixth test prompt."""
    prompts = TEXTS | {seed.id: seed.prompt for seed in load_seeds("test")[::6]}
    found: dict[str, dict[str, Sequence[str]]] = {}
    for profile in PROFILES:
        router = Router(encoder, load_composition(COMPOSITIONS / profile))
        found[profile] = {}
        for name, text in prompts.items():
            made = router.route(Request("r", (Turn("user", text),)))
            found[profile][name] = [made.category or "", made.expert, made.reason.value]
    return found


if __name__ == "__main__":
    np.save(VECTORS, vectors(load_encoder()), allow_pickle=False)
    DECISIONS.write_text(json.dumps(decisions(load_encoder()), indent=1, ensure_ascii=False) + "\n")
