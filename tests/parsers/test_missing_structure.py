"""What a parser's model or file lacks is said, and no label is empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdiff.errors import ParserError
from hdiff.parsers import SpacyParser, TreebankParser, load_parser
from hdiff.parsers.treebank import MAX_CHARACTERS, gold_sentences

SENTENCE = "The old dog that barked slept in the garden."
NP = "(NP (DT the) (NN dog))"

UNNAMED = [
    f"( (S {NP} (VP (VBD slept))) (. .) )",
    f"( (INTJ (UH Yes)) (, ,) (S {NP} (VP (VBD slept))) (. .))",
    f"( (CODE x) (S {NP} (VP (VBD slept))))",
    f"( ( (S {NP}) (. .)))",
    f"( ( {NP}) ( (VP (VBD slept)) (. .)))",
    f"(S ( {NP} (VP (VBD slept))))",
    f"(S {NP} ( (VP (VBD slept)) (. .)))",
    f"(S ( ( ( {NP}))) (VP (VBD slept)))",
    f"(ROOT {NP} (VP (VBD slept)))",
    f"(TOP (S {NP}) (S (VP (VBD slept))))",
    f"(=X {NP} (VP (VBD slept)))",
    f"(S (|-x {NP}) (VP (VBD slept)))",
    f"( (NP (-NONE- *)) {NP} (. .))",
    "( (NN dog) (VBD slept))",
]


@pytest.mark.parametrize("line", UNNAMED)
def test_no_span_of_a_gold_tree_has_an_empty_label(line: str, tmp_path: Path) -> None:
    (tmp_path / "t.ptb").write_text(line, encoding="utf-8")
    (tree,) = gold_sentences(tmp_path / "t.ptb")
    assert len(tree.at("sentence")) == 1
    assert all(span.label for span in tree.spans)
    assert not {"ROOT", "TOP"} & {span.label for span in tree.spans}
    if NP in line:
        assert "the dog" in {tree.text[span.start : span.end] for span in tree.at("phrase")} | {tree.text}


def conllu(tags: list[str], forms: tuple[str, ...] = ("Anna", "watered", "young", "trees")) -> str:
    heads, relations = (2, 0, 4, 2), ("nsubj", "root", "amod", "obj")
    rows = zip(forms, tags, heads, relations, strict=True)
    lines = [
        f"{number}\t{form}\t_\t{tag}\t_\t_\t{head}\t{relation}\t_\t_"
        for number, (form, tag, head, relation) in enumerate(rows, start=1)
    ]
    return "\n".join(lines) + "\n\n"


TAGGED = ["PROPN", "VERB", "ADJ", "NOUN"]


def treebank(folder: Path, text: str) -> TreebankParser:
    (folder / "t.conllu").write_text(text, encoding="utf-8")
    return TreebankParser(str(folder / "t.conllu"))


@pytest.mark.parametrize(
    "tags",
    [
        ["_"] * 4,
        ["NNP", "VBD", "JJ", "NNS"],
        ["N", "V", "A", "N"],
        ["propn", "verb", "adj", "noun"],
        ["NP0", "VVD", "AJ0", "NN2"],
        ["名詞", "動詞", "形容詞", "名詞"],
        ["-"] * 4,
        ["*"] * 4,
        ["NOUN|Case=Nom", "VERB|Tense=Past", "ADJ|x", "NOUN|x"],
        ["", "", "", ""],
    ],
)
def test_conllu_without_universal_parts_of_speech_gives_no_phrases_and_says_why(
    tags: list[str], tmp_path: Path
) -> None:
    parser = treebank(tmp_path, conllu(tags) * 3)
    assert parser.levels == ("sentence", "word")
    (reason,) = parser.lacks
    assert reason.startswith("12 of 12 words of ")
    assert "UPOS, column 4" in reason
    assert load_parser(f"random:treebank:{parser.path}").lacks == parser.lacks


@pytest.mark.parametrize("number", range(4))
def test_words_without_a_part_of_speech_are_counted(number: int, tmp_path: Path) -> None:
    tags = ["_"] * number + TAGGED[number:]
    parser = treebank(tmp_path, conllu(TAGGED) + conllu(tags, ("Bert", "saw", "old", "dogs")))
    assert parser.levels == ("sentence", "clause", "phrase", "word")
    assert bool(parser.lacks) == bool(number)
    assert all(reason.startswith(f"{number} of 8 words") for reason in parser.lacks)


def test_sentences_without_heads_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        ParserError, match=r"t.conllu, sentence at line 1: HEAD \(column 7\) is '_'.*parse the file"
    ):
        treebank(tmp_path, conllu(TAGGED).replace("\t2\t", "\t_\t"))


FORMS = [
    "10 000",
    "kr\u00a0",
    "\u00a0x",
    "a\u3000b",
    "ba\u0300 n",
    "x\u2009y ",
    "a  b",
    "\u200bz",
    "i.e. ,",
    " q",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_word_with_blanks_is_one_word_also_after_a_reader_has_stripped_the_text(
    form: str, tmp_path: Path
) -> None:
    parser = treebank(tmp_path, conllu(TAGGED, ("Anna", "paid", "the", form)))
    (text,) = parser.texts()
    (tree,) = parser.parse([text])
    assert [tree.text[word.start : word.end] for word in tree.words] == ["Anna", "paid", "the", form]
    for changed in (text.strip(), " ".join(text.split()), f"\n{text}\n", text.replace(" ", "\n")):
        (tree,) = parser.parse([changed])
        assert tree.text == changed
        found = ["".join(tree.text[word.start : word.end].split()) for word in tree.words]
        assert found == ["Anna", "paid", "the", "".join(form.split())]
        assert len(tree.at("phrase")) == 2


def test_texts_that_differ_in_blanks_alone_are_told_apart_or_refused(tmp_path: Path) -> None:
    forms = (("ice", "cream", "a", "b"), ("icecream", "a", "b", "."))
    texts = "".join(conllu(TAGGED, words) for words in (*forms, ("ice", "cream", "ab", ".")))
    parser = treebank(tmp_path, texts)
    for text, words in zip(parser.texts(), forms, strict=False):
        (tree,) = parser.parse([text])
        assert tuple(tree.text[word.start : word.end] for word in tree.words) == words
    with pytest.raises(ParserError, match="has no tree for 'icecream ab"):
        list(parser.parse(["icecream ab ."]))


def test_a_text_that_occurs_twice_is_given_twice(tmp_path: Path) -> None:
    parser = treebank(tmp_path, conllu(TAGGED) * 3)
    assert list(parser.texts()) == ["Anna watered young trees"] * 3


def test_a_long_document_becomes_several_texts(tmp_path: Path) -> None:
    number = 2 * MAX_CHARACTERS // len("Anna watered young trees ")
    parser = treebank(tmp_path, "# newdoc id = one\n" + conllu(TAGGED) * number)
    texts = list(parser.texts())
    assert len(texts) > 1
    assert max(map(len, texts)) <= MAX_CHARACTERS
    assert sum(text.count("Anna") for text in texts) == number


LACKING = [
    ["tagger"],
    ["attribute_ruler"],
    ["tagger", "attribute_ruler"],
    ["tagger", "lemmatizer", "ner"],
    ["attribute_ruler", "lemmatizer", "ner"],
    ["tagger", "attribute_ruler", "lemmatizer", "ner"],
]


@pytest.mark.parametrize("how", ["exclude", "disable"])
@pytest.mark.parametrize("missing", LACKING)
def test_a_pipeline_without_parts_of_speech_gives_no_phrases_and_says_why(
    missing: list[str], how: str, tmp_path: Path
) -> None:
    import spacy

    spacy.load(SpacyParser().model, **{how: missing}).to_disk(tmp_path / "pipeline")
    parser = SpacyParser(str(tmp_path / "pipeline"))
    assert parser.levels == ("sentence", "word")
    (reason,) = parser.lacks
    assert "set no part of speech: save the pipeline with 'tagger' and 'attribute_ruler'" in reason
    (tree,) = parser.parse([SENTENCE])
    assert len(tree.words) == 10
    assert not tree.at("phrase")


@pytest.mark.parametrize(
    ("component", "options"),
    [
        ("sentencizer", {"before": "parser"}),
        ("sentencizer", {"first": True}),
        ("merge_noun_chunks", {}),
        ("merge_entities", {}),
        ("merge_subtokens", {}),
        ("token_splitter", {}),
        ("token_splitter", {"before": "parser"}),
        ("doc_cleaner", {}),
        ("entity_ruler", {}),
        ("span_ruler", {}),
    ],
)
def test_other_components_leave_trees(component: str, options: dict[str, object], tmp_path: Path) -> None:
    import spacy

    pipeline = spacy.load(SpacyParser().model)
    pipeline.add_pipe(component, **options)  # type: ignore[arg-type]
    pipeline.to_disk(tmp_path / "pipeline")
    parser = SpacyParser(str(tmp_path / "pipeline"))
    assert parser.lacks == ()
    (tree,) = parser.parse([SENTENCE])
    assert tree.at("clause")
    assert tree.at("phrase")
