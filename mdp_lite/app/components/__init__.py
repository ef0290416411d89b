"""The page's own components: HTML, CSS and JavaScript beside the Python that builds them."""
