"""Write reports/index.html: the tables and figures on one page that opens without a server."""

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from s2rm.config.params import Params
from s2rm.core.files import replace_text
from s2rm.reporting.table_writers import Table


@dataclass(frozen=True)
class FigureEntry:
    """A figure on the page."""

    path: str
    """Relative to the page, with forward slashes."""
    caption: str


def write_page(
    path: Path,
    params: Params,
    run_names: list[str],
    *,
    above: list[Table],
    figures: dict[str, list[FigureEntry]],
    below: list[Table],
) -> Path:
    """Write the page; all text is escaped.

    Args:
        path: of the page; the tables' own files are in tables/ beside it.
        params: all parameters.
        run_names: the runs.
        above: the tables above the figures.
        figures: run → its figures.
        below: the tables below the figures.

    Returns:
        `path`.
    """
    environment = Environment(
        loader=PackageLoader("s2rm.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    html = environment.get_template("page.html.j2").render(
        title="Referring image segmentation with S2RM and CASG: results",
        synthetic=params.data.source == "refshapes",
        facts=_facts(params, run_names),
        above=above,
        figures=figures,
        below=below,
    )
    return replace_text(path, html)


def _facts(params: Params, run_names: list[str]) -> dict[str, str]:
    """List what was run: a name and one line of text each."""
    vision, language, fusion = params.vision, params.language, params.fusion
    text = language.pretrained or f"BERT from scratch ({language.layers} layers, width {language.hidden})"
    synthetic, side = params.data.source == "refshapes", vision.image_size
    facts = {
        "data": "RefShapes, drawn by this project" if synthetic else "real, in the REFER layout",
        "protocols": f"at the model's input size ({side}×{side}) and at the image's own",
        "vision": vision.backbone + (", pretrained" if vision.pretrained else ", from scratch"),
        "language": text,
        "fusion, decoder": f"{fusion.kind}, {params.decoder.kind}",
        "training": f"{params.train.epochs} epochs, seed {params.train.seed}, "
        f"best checkpoint by mean validation {params.train.select_by}",
    }
    missing = {
        "figure of the gates": fusion.why_no_gates,
        "figure of the words": fusion.why_no_words,
        "table of the balancing weights": fusion.why_no_weights,
    }
    facts |= {f"no {name}": reason for name, reason in missing.items() if reason}
    with_val: list[str] = list(params.train.with_val)
    for name in run_names:
        run = params.get_run(name)
        trained = [f"{each} (train and val)" if each in with_val else each for each in run.train_on]
        facts[f"run {name}"] = f"trained on {', '.join(trained)}; evaluated on {', '.join(run.evaluate_on)}"
    return facts
