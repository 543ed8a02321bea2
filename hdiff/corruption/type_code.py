"""TypeCode: what a typed mask shows (boundary, label, salience bucket), as one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Number = TypeVar("Number", int, Tensor)


@dataclass(frozen=True)
class TypeCode:
    """The code of the types of one stream.

    It is `(label * 2 + begins) * num_buckets + bucket`, without what is not shown.

    Attributes:
        has_boundary: Whether a type shows that a unit begins here.
        num_labels: Labels told apart, numbers 1 .. num_labels with 0 for none; 0 where no label is shown.
        num_buckets: Salience buckets; 0 where no salience is shown.
        is_lexical: Whether a type is the class of the token id, numbers 0 .. num_labels.
    """

    has_boundary: bool = False
    num_labels: int = 0
    num_buckets: int = 0
    is_lexical: bool = False

    @property
    def size(self) -> int:
        """Number of types."""
        return (self.num_labels + 1) * (2 if self.has_boundary else 1) * max(1, self.num_buckets)

    def encode(self, begins: Number, label: Number, bucket: Number) -> Number:
        """The type.

        Args:
            begins: Whether a unit begins here, 0 or 1; not looked at where no boundary is shown.
            label: Number of the label; greater ones count as `num_labels`.
            bucket: Salience bucket.

        Returns:
            A number below `size`, as an int or a long tensor like the arguments.
        """
        code = label.clamp(max=self.num_labels) if isinstance(label, Tensor) else min(label, self.num_labels)
        code = 2 * code + begins if self.has_boundary else code
        return code * self.num_buckets + bucket if self.num_buckets else code

    def decode(self, code: Number) -> tuple[Number, Number, Number]:
        """Boundary, label and bucket of a type, as `encode` takes them; 0 for what is not shown."""
        zero = code * 0
        bucket = code % self.num_buckets if self.num_buckets else zero
        code = code // max(1, self.num_buckets)
        return (code % 2, code // 2, bucket) if self.has_boundary else (zero, code, bucket)

    def describe(self, code: int, labels: Mapping[str, int]) -> str:
        """A type in words: `[NP s1`, a unit begins, its label, its bucket; `·` where none begins."""
        begins, number, bucket = self.decode(code)
        if self.is_lexical:
            label = f"class {number}"
        elif number == 0:
            label = "none"
        elif number == self.num_labels and max(labels.values(), default=0) > self.num_labels:
            label = "other"
        else:
            label = next((name for name, known in labels.items() if known == number), str(number))
        return self.words(bool(begins), label, bucket)

    def words(self, begins: bool, label: str, bucket: int) -> str:
        """As `describe`, of a label by name."""
        border = ("[" if begins else "·") if self.has_boundary else ""
        name = label if self.num_labels else ""
        return f"{border}{name}{f' s{bucket}' if self.num_buckets else ''}".strip()
