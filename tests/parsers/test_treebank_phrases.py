"""Phrases of spaCy's trees are those of the treebanks, where rules can make them so."""

from __future__ import annotations

import pytest

from hdiff.parsers import SpacyParser

PHRASES = {
    "The test failed in older mice (Figure 2).": ["in older mice", "-older mice (Figure 2)"],
    "The test failed in older mice [12, 13].": ["in older mice", "-older mice [12, 13]"],
    "Most of the plants grew near the old lake (Miller and Smith, 2004).": [
        "near the old lake",
        "NP Most of the plants",
    ],
    "The plants grew near the old lake (see Table 3).": ["near the old lake", "-the old lake (see Table 3)"],
    "He died in the old house. [23]": [
        "VP died in the old house",
        "in the old house",
        "-died in the old house. [23]",
    ],
    "The war began on August 2, 1754 and ended there.": ["NP August 2, 1754", "-August 2"],
    "He was born on March 15, 1912 in York.": ["NP March 15, 1912", "-March 15"],
    "She felt the need to rest after the long walk.": [
        "NP the need to rest after the long walk",
        "-the need",
    ],
    "He denied the claim that the old bridge was safe.": [
        "NP the claim that the old bridge was safe",
        "-the claim",
    ],
    "The dog that barked slept.": ["NP The dog"],
    "They found it difficult to read the letter.": ["-it difficult"],
    "Mary Berez-Kroeker slept well.": ["NP Mary Berez-Kroeker", "-Berez-Kroeker"],
    "A dog newly trained by the police barked.": ["newly trained by the police", "-trained by the police"],
    "So I went out into the garden.": ["-I went out into the garden"],
    "Several sets, including the small ones, were lost.": ["PP including the small ones"],
    "We saw the dog as well as the cat.": ["CONJP as well as"],
    "The price was about the same.": ["NP about the same"],
    "The [old] house burned.": ["NP The [old] house"],
}


@pytest.mark.parametrize(("text", "wanted"), PHRASES.items(), ids=[text[:30] for text in PHRASES])
def test_phrases_are_those_of_the_treebanks(text: str, wanted: list[str], spacy_parser: SpacyParser) -> None:
    (tree,) = spacy_parser.parse([text])
    spans = [span for span in tree.spans if span.level in ("clause", "phrase")]
    found = {tree.text[span.start : span.end]: span.label for span in spans}
    for item in wanted:
        label, _, rest = item.partition(" ")
        if item.startswith("-"):
            assert item[1:] not in found
        elif label.isupper() and len(label) > 1:
            assert found.get(rest) == label, found
        else:
            assert item in found, found
