"""The characters that stand for bytes in byte-level vocabularies."""

from __future__ import annotations

from functools import cache

NUM_BYTES = 256


@cache
def bytes_of_characters() -> dict[str, int]:
    """Byte of each character of a byte-level vocabulary: printable ones stand for themselves.

    Source: github.com/openai/gpt-2, src/encoder.py, bytes_to_unicode.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(NUM_BYTES) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(NUM_BYTES + position): byte for position, byte in enumerate(others)})
    return table
