"""The charts as they stand on the page."""

import re

import pandas as pd

from s2rm.reporting.pages import charts


def test_the_ticks_of_an_axis_differ() -> None:
    history = pd.DataFrame({"step": [10, 20, 30], "train/loss": [0.18, 0.1, 0.07]})
    svg = charts.to_svg(charts.draw_training(history, {}), "loss")
    ticks = [float(text) for text in re.findall(r">(\d+\.\d+)</text>", svg)]
    assert len(ticks) > 3
    assert len(set(ticks)) == len(ticks)


def test_the_text_of_a_chart_is_escaped() -> None:
    history = pd.DataFrame({"step": [10], "train/loss": [0.1]})
    assert 'aria-label="a &#34;&lt;b&gt;&#34;"' in charts.to_svg(charts.draw_training(history, {}), 'a "<b>"')
