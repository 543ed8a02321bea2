"""Scripts: a text that a parser was not made for is told by its letters, with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdiff.cli import run
from hdiff.data.prepared import PreparedData
from hdiff.parsers import load_parser
from hdiff.parsers.scripts import misfit, script_of

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


@pytest.mark.parametrize(("script", "text"), TEXTS.items(), ids=TEXTS)
def test_the_script_is_that_of_most_letters(script: str, text: str) -> None:
    assert script_of(text) == script
    assert script_of(f"{text} (OK 12)") == script
    assert (misfit(text, "en") is None) == (script == "LATIN")
    assert misfit(text, None) is None


def test_kana_count_as_japanese_and_few_letters_tell_nothing() -> None:
    assert script_of("おいしいラーメンを毎日食べたいと思っています") == "CJK"
    assert misfit("おいしいラーメンを毎日食べたいと思っています", "ja") is None
    assert script_of("Да! 12 + 13") is None


def test_spacy_tells_its_language_and_plain_has_none() -> None:
    assert load_parser("spacy").language == "en"
    assert load_parser("plain").language is None


def test_prepare_and_inspect_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "text.txt"
    source.write_text("\n\n".join(f"{TEXTS['CYRILLIC']} {number}" for number in range(20)), encoding="utf-8")
    out = tmp_path / "data"
    assert (
        run(["prepare", str(source), "--out", str(out), "--tokenizer", "train:300", "--parser", "spacy"]) == 0
    )
    (note,) = [note for note in PreparedData.load(out).manifest["notes"] if "script" in note]
    assert "--parser plain" in note
    capsys.readouterr()
    assert run(["inspect", TEXTS["CYRILLIC"]]) == 0
    assert "Cyrillic script" in capsys.readouterr().err
    assert run(["inspect", TEXTS["CYRILLIC"], "--parser", "plain", "--level", "word"]) == 0
    assert "script" not in capsys.readouterr().err
