"""The page's figures, one a file: from the content to a Bokeh figure. Nothing here reads a file or writes one."""
