"""A real browser for tests: Chromium of the system or of playwright, or a skip that says how to get it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, sync_playwright


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a browser, without a window."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            pytest.skip(f"no Chromium (apt install chromium, or `playwright install chromium`): {error}")
        try:
            yield browser
        finally:
            browser.close()
