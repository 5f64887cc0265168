"""Names that people read, in any alphabet, as opposed to the short names that programs use."""

from __future__ import annotations

import unicodedata

from meyrin.domain.errors import InvalidInput

MAX_LABEL = 200
# control characters, lone surrogates, line and paragraph separators: they break lines or storage
_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
# signs that turn the direction of what follows (Unicode TR 9): they would turn a page around
_TURNING = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))


def check_label(field: str, text: str) -> str:
    """`text` without spaces around it, in composed form (NFC); else InvalidInput."""
    label = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(label) <= MAX_LABEL or any(
        unicodedata.category(letter) in _FORBIDDEN or letter in _TURNING for letter in label
    ):
        raise InvalidInput(
            f"{field} can't be {text[:MAX_LABEL]!r}",
            hint=f"1 to {MAX_LABEL} letters of any alphabet on one line",
            field=field,
        )
    return label
