"""The report: a run or a capture as one HTML page that can be zoomed into, and needs no network.

`page` makes it, `save` writes it. What is drawn is `page.js` (by plotly, which is part of the page), what is said is
`page.html`, how it looks is `page.css`.
"""

from stripe.report.page import page, save

__all__ = ["page", "save"]
