"""The pages: results and gallery, with their charts; each one file without any request."""
