"""A second, deliberately naive model: one object a page, loops, no database; the tool is compared with it."""
