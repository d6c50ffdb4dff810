"""Just enough SVG: elements as escaped text."""

from __future__ import annotations

from markupsafe import Markup, escape


def tag(name: str, *inner: str | Markup, **attributes: str | float | None) -> Markup:
    """One element. Text is escaped, other elements are not; None leaves an attribute out.

    Python's names become SVG's: `class_` is `class`, `text_anchor` is `text-anchor`. Numbers are
    coordinates and keep one decimal, which is finer than a screen shows.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
        if value is not None
    )
    content = Markup("").join(escape(part) for part in inner)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, content)


def text(x: float, y: float, words: str, class_: str, anchor: str = "start") -> Markup:
    """One line of text whose baseline starts, ends or has its middle at (x, y)."""
    return tag("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def hint(words: str) -> Markup:
    """What a browser shows while the pointer rests on the element around it."""
    return tag("title", words)


def path(points: list[tuple[float, float] | None], class_: str) -> Markup:
    """A line through the points; None breaks it. A point between two breaks becomes a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    commands = []
    for run in runs:
        shown = run if len(run) != 1 else [*run, (run[0][0] + 0.1, run[0][1])]
        commands += [f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(shown)]
    return tag("path", d=" ".join(commands), class_=class_) if commands else Markup("")


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
