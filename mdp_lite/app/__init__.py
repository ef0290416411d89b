"""The apps: edit in the browser (extra [app]). What they do is plain Python; `page` draws it."""
