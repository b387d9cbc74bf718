"""The table that a run ends with: for a terminal, and in Markdown for README.md."""

from pathlib import Path

from contest import Line

README = Path(__file__).resolve().parent / "README.md"
BEGIN = "<!-- table: written by `bench/run --write` -->"
END = "<!-- end of the table -->"

HEAD = ("work", "gate", "beside it", "ratio", "spread", "goal", "")


def cells(line: Line) -> tuple[str, ...]:
    """The columns of a line."""
    return (line.work, line.gate, line.peer, line.ratio, line.spread, line.goal, line.verdict)


def text(lines: list[Line]) -> str:
    """Aligned for a terminal."""
    rows = [HEAD, *(cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in padded)


def markdown(lines: list[Line], about: dict[str, str]) -> str:
    """As README.md has it."""
    told = "\n".join(f"- {name}: {value}" for name, value in about.items())
    rows = [HEAD, tuple("---" for _ in HEAD), *(cells(line) for line in lines)]
    return f"{told}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(table: str) -> None:
    """Puts the table between README.md's two markers."""
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"bench/run: {README} lacks the markers of the table")
    README.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")
