"""The report: a run or a capture as one HTML page that can be zoomed into, and needs no network.

``page`` makes it, ``save`` writes it. ``page.js`` draws the pictures (by plotly, which is part of the page),
``page.html`` holds the text, ``page.css`` the style.
"""

from stripe.report.page import page, save

__all__ = ["page", "save"]
