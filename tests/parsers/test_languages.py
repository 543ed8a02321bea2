"""Languages: a text that a parser was not made for is told by its script and its words, with the remedy."""

from __future__ import annotations

import json
import re
from importlib import import_module
from itertools import islice
from pathlib import Path

import pytest

from hdiff.cli import run
from hdiff.data.prepared import PreparedData
from hdiff.data.sources.arrow import ArrowRows
from hdiff.errors import ParserError
from hdiff.parsers import languages, load_parser
from hdiff.parsers.languages import language_of, misfit
from hdiff.parsers.scripts import script_of

RECIPE = str(Path(__file__).resolve().parents[2] / "recipes" / "quickstart.yaml")
SIZES = ["model={width: 16, depth: 1, num_heads: 2}", "head={kind: product}", "data.sequence_length=32"]
STEPS = ["train={steps: 2, batch_size: 2, warmup_steps: 1}", "evaluation={blocks: 4, draws: 1, samples: 2}"]

TEXTS = {
    "LATIN": "Der alte Hund schläft im Garten und träumt.",
    "CYRILLIC": "Старая собака спит в саду и видит сны.",
    "GREEK": "Ο γέρικος σκύλος κοιμάται στον κήπο.",
    "ARABIC": "الكلب العجوز ينام في الحديقة ويحلم بالصيد",
    "HEBREW": "הכלב הזקן ישן בגינה וחולם על ציד ארוך",
    "CJK": "老狗在花园里睡觉,梦见它年轻的时候在田野里奔跑,非常快乐。",
    "HANGUL": "늙은 개가 정원에서 잠을 자고 꿈을 꾸고 있습니다 그리고",
    "DEVANAGARI": "बूढ़ा कुत्ता बगीचे में सो रहा है और सपने देख रहा है",
    "THAI": "สุนัขแก่นอนหลับอยู่ในสวนและกำลังฝันถึงวันเก่า",
    "GEORGIAN": "ბებერი ძაღლი ბაღში ძინავს და სიზმარს ხედავს",
}

ENGLISH = """
Hi!
OK, thanks.
No.
Colorless green ideas sleep furiously.
THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG
BREAKING NEWS: STOCKS FALL SHARPLY
@maria lol tbh idk!! #monday https://t.co/xyz
RT @user: omg this is sooo goooood
u r gr8 c u l8r
Buenos Aires, Santiago de Chile, Rio de Janeiro, Montevideo
Jean-Luc Picard, François Hollande, Angela Merkel
Prof. Dr. Hans-Georg Müller, Universität Heidelberg
Homo sapiens, Mus musculus, Rattus norvegicus
Staphylococcus aureus and Escherichia coli were found.
tomato soup, café au lait, chicken curry, crème brûlée
def main(argv): return sys.exit(run(argv))
for (int i = 0; i < n; i++) { sum += a[i]; }
SELECT name, price FROM items WHERE price > 10 ORDER BY name;
<div class="menu"><a href="/index.html">Home</a></div>
apples
pears, plums, cherries, peaches
1. milk 2. eggs 3. butter 4. flour
2 + 2 = 4, 3 x 3 = 9
Mo 9-17, Di 9-17, Mi 9-12
pip install numpy pandas scipy
Der Spiegel reported it first.
She whispered "je ne sais quoi" and left the room.
aaaaaaaaaaaaaaaaaaaaaaaa
E = mc^2, F = ma, PV = nRT
Ulan Bator; Kuala Lumpur; Ouagadougou; Antananarivo
""".strip().splitlines()


@pytest.mark.parametrize(("script", "text"), TEXTS.items(), ids=TEXTS)
def test_the_script_is_that_of_most_letters(script: str, text: str) -> None:
    assert script_of(text) == script
    assert script_of(f"{text} (OK 12)") == script
    assert misfit([text], "en") is not None
    assert misfit([text], None) is None


def test_kana_count_as_japanese_and_few_letters_tell_nothing() -> None:
    assert script_of("おいしいラーメンを毎日食べたいと思っています") == "CJK"
    assert misfit(["おいしいラーメンを毎日食べたいと思っています"], "ja") is None
    assert script_of("Да! 12 + 13") is None


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_not_called_something_else(text: str) -> None:
    assert language_of(text) is None
    assert misfit([text], "en") is None


SPACY_HAS_EXAMPLES = """
    af ar bg ca cs da de el es fa fi fr he hi hr hu hy id it ja ko lt nb nl pl pt ro ru sk sl sq sr sv ta te
    tr uk vi zh
""".split()  # noqa: SIM905


@pytest.mark.parametrize("code", SPACY_HAS_EXAMPLES)
def test_the_examples_of_other_languages_are_told(code: str) -> None:
    try:
        texts = import_module(f"spacy.lang.{code}.examples").sentences
    except ModuleNotFoundError:
        texts = ["Die ou hond slaap in die tuin en droom van die see en die berge."]
    assert misfit(texts, "en") is not None
    assert misfit([" ".join(texts)], "en") is not None
    assert misfit([" ".join(texts)], code) is None


def test_english_corpora_are_not_called_something_else(shared_data: Path) -> None:
    for name, border, number in (
        ("gum_open/dev.txt", r"\n\n+", 300),
        ("craft/dev.txt", r"\n\n+", 100),
        ("tinystories/valid.txt", re.escape("<|endoftext|>"), 100),
        ("gutenberg/Dracula_345.txt", r"\n\n+", 300),
        ("wikitext2/valid.txt", r"\n", 300),
    ):
        texts = re.split(border, (shared_data / name).read_text(encoding="utf-8"))[:number]
        assert misfit(texts, "en") is None
        assert sum(language_of(text) is not None for text in texts) <= 1, name


def test_a_few_foreign_texts_are_not_worth_a_remark() -> None:
    french = import_module("spacy.lang.fr.examples").sentences[0]
    english = [f"The old dog number {number} slept in the garden of his friend." for number in range(40)]
    assert misfit([*english, french], "en") is None
    assert "3 of 43 texts" in (misfit([*english, *[french] * 3], "en") or "")


def test_without_the_library_scripts_are_told_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "py3langid", None)
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    languages._identifier.cache_clear()
    try:
        assert misfit([TEXTS["LATIN"]], "en") is None
        assert "Cyrillic script" in (misfit([TEXTS["CYRILLIC"]], "en") or "")
        with pytest.raises(ParserError, match="py3langid"):
            load_parser("auto")
    finally:
        languages._identifier.cache_clear()


def test_parsers_tell_their_language() -> None:
    assert load_parser("spacy").language == "en"
    assert load_parser("random:spacy").language == "en"
    assert load_parser("plain").language is None
    assert load_parser("spacy:fr_core_news_sm").language == "fr"


def test_prepare_and_inspect_say_so_and_the_remedies_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "text.txt"
    text = "\n\n".join(f"{TEXTS['CYRILLIC']} {number}" for number in range(20))
    source.write_text(text, encoding="utf-8")
    command = ["prepare", str(source), "--tokenizer", "train:300", "-q"]
    assert run([*command, "--out", str(tmp_path / "spacy")]) == 0
    (note,) = [note for note in PreparedData.load(tmp_path / "spacy").manifest["notes"] if "script" in note]
    assert "--parser auto" in note
    assert "--parser plain" in note
    assert run([*command, "--out", str(tmp_path / "plain"), "--parser", "plain", "--levels", "word"]) == 0
    capsys.readouterr()
    assert run(["inspect", TEXTS["CYRILLIC"]]) == 0
    assert "Cyrillic script" in capsys.readouterr().err
    assert run(["inspect", TEXTS["LATIN"]]) == 0
    assert "language 'de'" in capsys.readouterr().err
    for parser in ("plain", "auto"):
        assert run(["inspect", TEXTS["LATIN"], "--parser", parser, "--level", "word"]) == 0
        assert "language" not in capsys.readouterr().err


FRENCH = """
Le vieux pêcheur réparait ses filets devant la petite maison. Son fils le regardait en silence.
La ville a été construite par des marchands qui venaient de loin. Elle est très belle.
Nous avons mangé du pain et du fromage, puis nous sommes partis vers la mer.
Elle pense que les enfants dorment encore dans la grande chambre.
Quand il pleut, les chiens restent sous la table et les chats sur la fenêtre.
Je voudrais lire le livre que tu m'as donné hier soir.
""".strip().splitlines()


def test_another_language_from_text_to_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"{text} Il y a {number} ans." for number, text in enumerate(FRENCH * 4)]
    (tmp_path / "texte.txt").write_text("\n\n".join(texts), encoding="utf-8")
    data, trained = tmp_path / "data", tmp_path / "run"
    command = ["prepare", str(tmp_path / "texte.txt"), "--out", str(data), "--tokenizer", "train:400", "-q"]
    assert run([*command, "--parser", "spacy:fr_core_news_sm", "--validation-fraction", "0.3"]) == 0
    manifest = PreparedData.load(data).manifest
    assert not [note for note in manifest["notes"] if "language" in note]
    assert {"NP", "VP", "PP", "SBAR", "S"} <= set(manifest["labels"])
    where = [f"data.path={data}", f"output={trained}", "-q"]
    assert run(["train", RECIPE, *SIZES, *STEPS, "supervision.targets=[pos, phrase]", *where]) == 0
    assert run(["eval", str(trained), "--steps", "1,2", "-q"]) == 0
    capsys.readouterr()
    assert run(["sample", str(trained), "--num", "2", "--steps", "2", "-q"]) == 0
    assert capsys.readouterr().out.strip()


def test_auto_gives_each_text_to_a_parser_of_its_language(tmp_path: Path) -> None:
    english = [f"The old dog who barked at {number} cats slept in the garden." for number in range(9)]
    others = [TEXTS["LATIN"], TEXTS["CJK"], TEXTS["CYRILLIC"]]
    (tmp_path / "mixed.jsonl").write_text(
        "\n".join(json.dumps({"text": text}) for text in [*english, *FRENCH, *others]), encoding="utf-8"
    )
    (tmp_path / "held.txt").write_text(f"{english[0]} Again.\n\n{FRENCH[0]} Encore.", encoding="utf-8")
    data, trained = tmp_path / "data", tmp_path / "run"
    command = ["prepare", str(tmp_path / "mixed.jsonl"), "--out", str(data), "--tokenizer", "train:400", "-q"]
    assert run([*command, "--validation", str(tmp_path / "held.txt"), "--parser", "auto"]) == 0
    manifest = PreparedData.load(data).manifest
    assert manifest["languages"] == {"en": 10, "fr": 7, "de": 1, "zh": 1, "ru": 1}
    assert json.loads(manifest["parser"]["models"])["fr"][0] == "fr_core_news_sm"
    rows = ArrowRows.of_split(data / "train")
    told = {rows[row]["text"]: rows[row]["language"] for row in range(len(rows))}
    assert [told[text] for text in (*FRENCH, *others)] == ["fr"] * 6 + ["de", "zh", "ru"]
    (alone,) = load_parser("spacy:fr_core_news_sm").parse(FRENCH[:1])
    (among,) = islice(load_parser("auto").parse([*FRENCH[:1], *english]), 1)
    assert among.spans == alone.spans
    where = [f"data.path={data}", "data.units=cut", f"output={trained}", "-q"]
    assert run(["train", RECIPE, *SIZES, *STEPS, "supervision.targets=[pos, phrase]", *where]) == 0
