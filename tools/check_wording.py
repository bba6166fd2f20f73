"""Find idioms that readers from other countries may not understand, and print a better wording for each.

    python tools/check_wording.py [FILE or FOLDER ...]

Without arguments it checks the texts of the project: code, documentation, parameters and the files that run
them. It prints one line per finding, `file:line: 'words found': advice`, and exits with 1 if there are any.
A finding may extend over several lines of a comment, a docstring or a concatenated string.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKED = (
    *("src", "pipeline", "benchmarks", "tools", "docs", "presets", "docker", ".ci"),
    *("params.yaml", "dvc.yaml", "archives.yaml", "pyproject.toml", "Makefile", ".pre-commit-config.yaml"),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff"),
)
EXCLUDED = (
    Path(__file__).resolve(),  # names the words
    ROOT / "benchmarks" / "results",  # quotes the output of earlier versions
)
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".cff", ".sh", ".j2", ".env", ""}

# Between two words: spaces, or a line break with the marks of a comment, a quotation or a joined string.
GAP = r"""(?:[ \t]+|[ \t]*['"]?[ \t]*\n[ \t]*(?:[#>]+[ \t]*|[rf]*['"])?)"""

# Words after "is no" that make it common English.
COMMON = (
    *("longer", "more", "less", "fewer", "other", "one", "doubt", "better", "worse", "larger", "smaller"),
    *("greater", "higher", "lower", "wider", "deeper", "faster", "slower", "earlier", "later", "shorter"),
)
# Nouns for "a NOUN a NOUN" and "NOUNs a NOUN", which mean "one NOUN per NOUN". Those whose plural is also the
# form of a verb ("maps a block") come second: they count as plurals only after a number.
NOUNS = (
    *("annotation", "axis", "backbone", "benchmark", "byte", "category", "checkpoint", "column", "core"),
    *("decoder", "device", "dimension", "direction", "encoder", "entry", "epoch", "expression", "folder"),
    *(
        "fusion",
        "idea",
        "image",
        "instance",
        "item",
        "iteration",
        "kernel",
        "layer",
        "length",
        "letter",
        "member",
    ),
    *(
        "method",
        "metric",
        "module",
        "pair",
        "paper",
        "parameter",
        "pixel",
        "preset",
        "projection",
        "property",
        "protocol",
        "ref",
    ),
    *("referent", "relation", "role", "rotation", "row", "scene", "semantic", "sentence", "thing", "token"),
    *("training", "validation", "variant", "vector", "version", "worker"),
)
VERBLIKE = (
    *("activation", "archive", "batch", "block", "box", "cell", "channel", "chunk", "class", "commit"),
    *("example", "experiment", "feature", "file", "gate", "head", "job", "key", "level", "line", "list"),
    *("machine", "map", "mask", "message", "mirror", "model", "node", "number", "object", "panel", "part"),
    *("patch", "phase", "point", "position", "process", "program", "question", "record", "result", "round"),
    *("run", "sample", "scale", "score", "section", "seed", "shape", "share", "shard", "slice", "split"),
    *("stage", "state", "step", "string", "sweep", "table", "task", "test", "text", "thread", "value"),
    *("video", "weight", "window", "word"),
)
UNITS = ("[kMGT]?FLOPs", "[kMGT]i?B", "px")
NUMBER = r"(?:\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|more|fewer|many)"


def _plural(noun: str) -> str:
    if noun == "axis":
        return "axes"
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return re.sub("(?<![aeiou])y$", "ie", noun) + "s"


@dataclass(frozen=True)
class Rule:
    """Words to avoid, and what to write instead; a match that has a group `correct` is correct English."""

    pattern: re.Pattern[str]
    advice: str


@dataclass(frozen=True)
class Finding:
    """An idiom in a text."""

    line: int  # 1 is the first
    words: str
    advice: str


def _rule(pattern: str, advice: str) -> Rule:
    """Make a rule from a regular expression in which a space stands for GAP."""
    return Rule(re.compile(pattern.replace(" ", GAP), re.IGNORECASE), advice)


def _any_of(words: Iterable[str]) -> str:
    return rf"(?:{'|'.join(words)})\b"


_NOUN = _any_of((*NOUNS, *VERBLIKE))
_PLURAL = _any_of((*map(_plural, NOUNS), *UNITS))
_COUNTED = _any_of(map(_plural, (*NOUNS, *VERBLIKE)))
RULES = (
    _rule(
        rf"(?P<correct>\bthere (?:\w+ )?)?\b(?:is|are|was|were) no (?!{_any_of(COMMON)})\w+",
        "write 'is not a …', 'does not have a …'",
    ),
    _rule(r"\bmend(?:s|ed|ing)?\b", "write 'correct', 'repair'"),
    _rule(r"\bamiss\b", "write 'wrong'"),
    _rule(r"\bheed(?:s|ed|ing)?\b", "write 'respect', 'follow'"),
    _rule(r"\banew\b", "write 'again', 'from the beginning'"),
    _rule(r"\bby turns\b", "write 'in turn', 'alternately'"),
    _rule(r"\bat hand\b", "write 'available'"),
    _rule(r"\bwanting\b(?! to\b)", "write 'missing', 'needed'"),
    _rule(r"\bbe it\b", "write 'whether … or …'"),
    _rule(r"\b(?:take|takes|taking|taken|took) up\b(?! to\b)", "write 'use', 'start', 'continue'"),
    _rule(r"\bg(?:ive|ives|ave|iving) back nothing\b", "write 'returns nothing'"),
    _rule(r"\btold by\b|\b(?:is|are|was|were) told\b", "write 'identified by', 'given by', 'receives'"),
    _rule(rf"\b(?:an?|one) (?:[\w-]+ )??{_NOUN} an? (?:[\w-]+ ){{0,2}}?{_NOUN}", "write 'one … per …'"),
    _rule(
        rf"(?P<correct>\bhow many )?\b(?:{NUMBER} {_COUNTED}|{_PLURAL}) an? (?:[\w-]+ )?{_NOUN}",
        "write '… per …', 'for each …'",
    ),
)


def find_idioms(text: str) -> list[Finding]:
    """Return the idioms of a text in their order."""
    found = [
        Finding(text.count("\n", 0, match.start()) + 1, " ".join(match.group().split()), rule.advice)
        for rule in RULES
        for match in rule.pattern.finditer(text)
        if not match.groupdict().get("correct")
    ]
    return sorted(found, key=lambda finding: finding.line)


def list_texts(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the text files among files and folders; those of a folder are sorted."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            excluded = any(file == each or each in file.parents for each in EXCLUDED)
            if (
                file.is_file()
                and file.suffix in SUFFIXES
                and not any(part == "__pycache__" or part.endswith(".egg-info") for part in file.parts)
                and not excluded
            ):
                yield file


def main(arguments: Sequence[str]) -> int:
    """Print the findings in files and folders.

    Returns:
        0 without findings, 1 with any, 2 where a named path does not exist.
    """
    paths = [Path(argument).resolve() for argument in arguments]
    for path in paths:
        if not path.exists():
            print(f"error: {path} does not exist", file=sys.stderr)
            return 2
    count = 0
    for file in list_texts(paths or [ROOT / name for name in CHECKED]):
        name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
        for finding in find_idioms(file.read_text(encoding="utf-8")):
            print(f"{name}:{finding.line}: {finding.words!r}: {finding.advice}")
            count += 1
    if count:
        print(f"{count} idiom{'' if count == 1 else 's'} found", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
