"""The page: edit pictures in the browser (extra [app]). Its work is plain Python."""
