"""Numbers in words, alike wherever they are read."""

from __future__ import annotations


def count(number: int) -> str:
    """1234567 as 1,234,567."""
    return f"{number:,}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """The word that goes with a number: `one` with 1, else `many`, by default with an s."""
    return one if number == 1 else many or f"{one}s"


def counted(number: int, one: str, many: str | None = None) -> str:
    """1 as `1 image`, 1234 as `1,234 images`."""
    return f"{count(number)} {plural(number, one, many)}"


def counted_or_no(number: int, one: str, many: str | None = None) -> str:
    """Likewise, but 0 as `no images`."""
    return counted(number, one, many) if number else f"no {plural(0, one, many)}"


def percent(share: float) -> str:
    """0.1234 as 12.34 %; what is not quite nothing or all is never rounded to it."""
    if 0 < share < 0.00005:
        return "< 0.01 %"
    if 0.99995 <= share < 1:
        return "> 99.99 %"
    return f"{100 * share:.2f} %"


def size(n_bytes: int) -> str:
    """1234567 as 1.23 MB."""
    number, unit = float(n_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if number < 1000 or unit == "PB":
            break
        number /= 1000
    return f"{number:.3g} {unit}"


def number(value: object) -> str:
    """Counts with separators, other numbers in four digits or more, nothing as a dash."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return count(value)
        case float() if value.is_integer():
            return count(int(value))
        case float():
            return f"{value:,.6g}" if abs(value) >= 1000 else f"{value:.4g}"
        case _:
            return str(value)
