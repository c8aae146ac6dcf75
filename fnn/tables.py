"""Tables for a terminal: what every `str()` with rows and columns is made of."""

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Aligned columns under a rule: the first `left` of them flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return [line(head), "  ".join("-" * width for width in widths), *map(line, lines)]
