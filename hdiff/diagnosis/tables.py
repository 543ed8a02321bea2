"""Tables and sentences of a diagnosis: what was found, in words that a reader can check."""

from __future__ import annotations

from hdiff.diagnosis.diagnosis import Diagnosis
from hdiff.pages.text_table import DASH, Table

_MANY = 9


def collapse_sentences(diagnosis: Diagnosis) -> list[str]:
    """What was found of frequency collapse."""
    curve = diagnosis.frequency_collapse
    half = (
        f"It has fallen to half {curve.half_distance} tokens from the text."
        if curve.half_distance is not None
        else "It never falls to half of that."
    )
    far = len(curve.distance)
    return [
        f"{curve.prefixes} prefixes of {curve.prefix_tokens} tokens, {far} masks behind each, one pass. "
        f"KL(prediction || unigram distribution) is {curve.kl_near:.3f} at the first mask and "
        f"{curve.kl_far:.3f} ± {curve.kl_far_stderr:.3f} over the last ones. {half}",
        f"At the last mask the prefix tells {curve.prefix_information[-1]:.3f} nats, the mean prediction is "
        f"{curve.mean_to_unigram[-1]:.3f} nats from the unigram distribution, and the likeliest token is one "
        f"of the ten most frequent ones after {100 * curve.top10_share[-1]:.0f} % of the prefixes.",
    ]


def collapse_table(diagnosis: Diagnosis) -> Table:
    """Figures at some distances."""
    curve = diagnosis.frequency_collapse
    last = curve.distance[-1]
    chosen = sorted({round(last ** (k / _MANY)) - 1 for k in range(_MANY + 1)})
    rows = tuple(
        (
            str(curve.distance[i]),
            f"{curve.kl_to_unigram[i]:.3f} ± {curve.kl_stderr[i]:.3f}",
            f"{curve.prefix_information[i]:.3f}",
            f"{curve.entropy[i]:.3f}",
            f"{100 * curve.top10_share[i]:.0f} %",
            f"{curve.true_probability[i]:.4f}",
            f"{curve.true_nats[i]:.3f} ({curve.unigram_nats[i]:.3f})",
        )
        for i in chosen
    )
    columns = (
        "distance",
        "KL to unigram",
        "prefix tells",
        f"entropy (unigram {curve.unigram_entropy:.3f})",
        "likeliest in top 10",
        "p of true token",
        "-log p of true token (unigram)",
    )
    return Table("Predictions over distance, nats", columns, rows)


def trap_sentences(diagnosis: Diagnosis) -> list[str]:
    """What was found of the marginal trap."""
    pairs, true = diagnosis.pairs, diagnosis.pairs.true_pairs
    sentences = [
        f"{pairs.count} pairs of neighbours ({pairs.unit}) of held-out text, all else visible. The model's "
        f"own chain differs from the product of its marginals by {pairs.total_correlation:.3f} ± "
        f"{pairs.stderr:.3f} nats per pair, which filling both at once throws away.",
        f"Of pairs filled at once {100 * pairs.trapped:.1f} % have less than a tenth of their probability "
        f"under the chain, of pairs filled in turn {100 * pairs.trapped_in_turn:.1f} %.",
        f"True pairs cost {true.product_nats:.3f} nats at once and {true.chain_nats:.3f} in turn: a gain of "
        f"{true.gain:.3f} ± {true.gain_stderr:.3f}.",
    ]
    if true.head_nats is not None and pairs.head_joint_recovers is not None and pairs.head_stderr is not None:
        sentences.append(
            f"Filled at once by the joint head, as one span, they cost {true.head_nats:.3f}: a gain of "
            f"{pairs.head_joint_recovers:.3f} ± {pairs.head_stderr:.3f}."
        )
    return sentences


def trap_tables(diagnosis: Diagnosis) -> list[Table]:
    """Agreement by paradigm, and examples."""
    agreement = diagnosis.agreement
    tables = []
    if agreement["count"]:
        rows: list[tuple[str, ...]] = [
            (
                name,
                str(figures["count"]),
                _share(figures["disagreement_product"]),
                _share(figures["disagreement_chain"]),
                _share(figures["disagreement_head"] if figures["head_count"] == figures["count"] else None),
                f"{figures['total_correlation']:.4f}",
            )
            for name, figures in (*agreement["paradigms"].items(), ("all", agreement))
        ]
        if agreement["head_count"]:
            there = ("disagreement_product_there", "disagreement_chain_there", "disagreement_head")
            count = str(agreement["head_count"])
            rows.append(("of neighbouring words", count, *(_share(agreement[key]) for key in there), DASH))
        columns = ("paradigm", "frames", "at once", "in turn", "joint head", "total correlation, nats")
        tables.append(Table("Probability of a filling that disagrees, of four", columns, tuple(rows)))
    examples = tuple(
        (example.context, example.product, example.chain, f"{example.log_ratio:.1f}")
        for example in diagnosis.examples
    )
    title = (
        f"Of {diagnosis.pairs.count} pairs drawn at once, those the chain likes least; a pair drawn in turn"
    )
    headings = ("text", "at once", "in turn", "log chain - log product, nats")
    return [*tables, Table(title, headings, examples)]


def _share(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.1f} %"
