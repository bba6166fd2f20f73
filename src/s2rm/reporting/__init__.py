"""Reporting: tables, figures and the page of results, which `render.render` writes from files alone."""
