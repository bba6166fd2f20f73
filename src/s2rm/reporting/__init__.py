"""Tables, figures and the page of results: `render.render` writes them all."""
