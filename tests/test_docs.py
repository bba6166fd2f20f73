"""The documents: links resolve, commands exist, code compiles, numbers and messages are the project's."""

import ast
import importlib
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from statistics import mean
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import yaml
from dvc.cli.parser import get_main_parser

from s2rm import __version__
from s2rm.config.load import load_params
from s2rm.refer.issues import RULES

ROOT = Path(__file__).parents[1]
DOCS = sorted(ROOT.glob("docs/**/*.md"))
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
    *DOCS,
    *sorted(ROOT.glob("dev/**/*.md")),
    *sorted(ROOT.glob("benchmarks/results/*.md")),
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

# Commands of the README that this file does not run, with the reason.
NOT_RUN = {
    "make": "minutes; its targets exist",
    "dvc": "the pipeline's tests run it; its subcommands and options exist",
    "docker": "needs an engine; the files that it names exist",
    "s2rm predict": "tests/test_readme.py runs it; its options exist",
    "s2rm check": "tests/test_readme.py runs it",
    "s2rm score": "tests/test_readme.py runs it; its options exist",
    "s2rm compare": "tests/test_readme.py runs it; its options exist",
    "s2rm plan": "tests/planning runs it; its options exist",
    ".": "activates the environment that runs this test",
    "git": "tests/test_readme.py runs it",
}
RUN = {"cp", "s2rm describe"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    return re.sub(r"(`+)[^`].*?\1", "", FENCE.sub("", text))


def slug(heading: str) -> str:
    """Return GitHub's anchor of a heading: letters, marks, decimal digits, hyphens and spaces stay."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    kept = (c for c in plain if c in "- _" or unicodedata.category(c)[0] in "LM" or c.isdecimal())
    return "".join(kept).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE):
        anchor = slug(heading)
        repeats = found.count(anchor)
        found.append(f"{anchor}-{repeats}" if repeats else anchor)
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_anchors_resolve(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    broken = []
    for target in targets:
        if re.match(r"https?://", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = page if not path else page.parent / path
        inside = file.resolve().is_relative_to(ROOT)
        if not inside or not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def commands(page: Path) -> list[list[str]]:
    """Return the words of each command in the bash blocks, without settings of variables and comments."""
    found = []
    for _, language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language != "bash" or "#SBATCH" in block or "$(hostname)" in block:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            rest = list(itertools.dropwhile(lambda word: re.match(r"(\w+=|export$)", word), words))
            if rest:
                found.append(rest)
    return found


def kind_of(words: list[str]) -> str:
    return " ".join(words[:2]) if words[0] == "s2rm" else words[0]


def test_every_command_of_the_readme_is_run_here_or_has_a_reason() -> None:
    unknown = {kind_of(words) for words in commands(ROOT / "README.md")} - NOT_RUN.keys() - RUN
    assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_name_what_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    dvc = get_main_parser()
    for words in commands(page):
        match words:
            case ["make", *given]:
                target = next(word for word in given if "=" not in word)
                assert target in targets, target
            case ["dvc", *arguments]:
                dvc.parse_args(arguments)  # raises where a subcommand or an option is unknown
                overrides = [b for a, b in itertools.pairwise(arguments) if a == "-S"]
                if page.stem != "extending":  # whose parameters are those that it adds
                    check_overrides(overrides)
            case ["docker", *arguments]:
                for name in (word for word in arguments if word.startswith("docker/")):
                    assert (ROOT / name).exists(), name
            case ["python" | "bash" | "pytest" | "cp", *arguments]:
                for name in (
                    word for word in arguments if re.match(r"(benchmarks|presets|docker|tests)/\w", word)
                ):
                    assert (ROOT / name.partition("::")[0]).exists() or name == "docker/.env", name


def check_overrides(overrides: list[str]) -> None:
    """Fail unless the parameters take `-S key=a,b -S …`, each value with each of the others."""
    choices = []
    for key, _, values in (override.partition("=") for override in overrides):
        listed = [values] if values[:1] in ("[", "{", "") else values.split(",")
        choices.append([f"{key}={value}" if values else key for value in listed])
    for chosen in itertools.product(*choices):
        load_params(ROOT / "params.yaml", chosen)


def test_options_of_the_command_exist() -> None:
    used: dict[str, set[str]] = {}
    for words in (words for page in PAGES for words in commands(page) if words[0] == "s2rm"):
        used.setdefault(words[1], set()).update(word for word in words if re.match(r"--?[a-zA-Z]", word))
    assert {"predict", "describe"} <= used.keys()
    for command, options in used.items():
        shown = subprocess.run(
            [sys.executable, "-m", "s2rm.cli", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert all(re.search(rf"{re.escape(option)}\b", shown) for option in options), (command, options)


def test_the_preset_is_copied_as_the_readme_says(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    (words,) = [words for words in commands(ROOT / "README.md") if words[:2] == ["cp", "presets/paper.yaml"]]
    subprocess.run(words, cwd=tmp_path, check=True)
    assert len(load_params(tmp_path / "params.yaml").runs) == 5


@pytest.mark.slow
@pytest.mark.long
def test_the_readme_s_description_of_the_model() -> None:
    (words,) = [words for words in commands(ROOT / "README.md") if words[:2] == ["s2rm", "describe"]]
    command = [sys.executable, "-m", "s2rm.cli", *words[1:], "--json"]
    total = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)[
        "total"
    ]
    shown = [total["parameters"] / 1e6, total["flops_image"] / 1e9, total["flops_expression"] / 1e9]
    sentence = "{:.0f} M parameters; {:.1f} GFLOPs per image and {:.1f} for each of its expressions".format(
        *shown
    )
    assert sentence in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "api.md"], ids=name_of)
def test_python_blocks_compile_and_their_imports_exist(page: Path) -> None:
    blocks = [
        code for _, language, code in FENCE.findall(page.read_text(encoding="utf-8")) if language == "python"
    ]
    assert blocks
    for node in ast.walk(ast.parse("\n".join(blocks))):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_ablations_take_at_most_900_words() -> None:
    assert len((ROOT / "docs" / "ablations.md").read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS], ids=name_of)
def test_documents_do_not_keep_a_diary(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    assert not re.search(r"\b(bars?|today|yesterday|last session)\b", text, re.IGNORECASE)
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", text)


def test_the_messages_of_troubleshooting_are_in_the_code() -> None:
    """`…` stands for what a message fills in; a Makefile's message and DVC's own are quoted as well."""
    files = [file for folder in ("src", "pipeline", "tools") for file in (ROOT / folder).rglob("*.py")]
    texts = [" ".join(strings(ast.parse(file.read_text(encoding="utf-8")))) for file in files]
    code = "\n".join([*texts, (ROOT / "Makefile").read_text(encoding="utf-8")])
    theirs = (
        "No space left on device",
        "module 'os' has no attribute 'pread'",
        "Unable to acquire lock",
        "Git user name and email must be configured",
        "dvc.lock",
        "… is not a git repository",
        "getpwuid(): uid not found: …",
        "'…/dvc.yaml' does not exist",
    )
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| ([^|]*`[^|]*) \|", page, re.MULTILINE):
        for message in re.findall(r"`([^`]+)`", row):
            parts = [part for part in re.split("…", message) if len(part.strip(" ;:,.")) > 3]
            assert message in theirs or all(part.strip(" ;:,.") in code for part in parts), message


def strings(tree: ast.AST) -> list[str]:
    """Return the texts in a module, those with values in them in one piece per text."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_the_faults_of_the_data_are_all_listed() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").partition("### Faults and their rules")[2]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(RULES)


def test_each_environment_variable_of_ours_is_in_the_table() -> None:
    page = (ROOT / "docs/experiments.md").read_text(encoding="utf-8")
    code = "".join(
        path.read_text() for folder in ("src", "pipeline") for path in (ROOT / folder).rglob("*.py")
    )
    internal = {"S2RM_LAUNCHED"}
    named = set(re.findall(r"`(\w+)`", page.partition("| variable | decides |")[2].partition("\n\n")[0]))
    assert set(re.findall(r"\bS2RM_[A-Z_]+\b", code)) - internal <= named


def test_the_demo_s_result_is_the_committed_one() -> None:
    metrics = json.loads((ROOT / "docs" / "example" / "metrics.json").read_text())
    result = f"{mean(splits['val']['model']['mIoU'] for splits in metrics.values()):.1f}"
    for name in ("README.md", "docs/results.md"):
        assert f"| {result} |" in (ROOT / name).read_text(encoding="utf-8"), name


def test_the_citation_is_that_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == __version__
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Yang", "Zhang", "Sun", "Lu"]
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version = {{{__version__}}}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("picture", sorted(ROOT.glob("docs/pictures/*.svg")), ids=name_of)
def test_pictures_have_a_background_and_a_text_for_those_who_do_not_see_them(picture: Path) -> None:
    root = ElementTree.parse(picture).getroot()
    title, description, background = list(root)[:3]
    assert title.text
    assert description.text
    assert background.get("fill") == "#ffffff"
    assert not re.search(r"https?://(?!www\.w3\.org)", picture.read_text(encoding="utf-8"))
