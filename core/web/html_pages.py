"""The pages that Atelier writes without Streamlit: a shared image, and the answer to an unknown address."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

from core.web.security_headers import hash_source

# The colours of the pages' themes, as in .streamlit/config.toml.
STYLE = """
:root { color-scheme: light dark; }
body {
  background: light-dark(#fbfaf8, #15141b);
  color: light-dark(#14121c, #f1eef8);
  font: 1rem/1.5 system-ui, sans-serif;
  margin: 0 auto;
  max-width: 64rem;
  padding: 1.5rem 1rem 3rem;
}
a { color: light-dark(#5a3fc8, #b3a4ff); }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 1rem 0 0.25rem; overflow-wrap: anywhere; }
img {
  border-radius: 0.75rem;
  display: block;
  height: auto;
  margin: 0 auto;
  max-height: 80vh;
  max-width: 100%;
  width: auto;
}
p { margin: 0.25rem 0; overflow-wrap: anywhere; }
footer {
  border-top: 1px solid light-dark(#14121c22, #f1eef822);
  font-size: 0.9rem;
  margin-top: 2rem;
  padding-top: 1rem;
}
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta property="og:title" content="{title}">
<meta property="og:site_name" content="Atelier">
<title>{title} · Atelier</title>
<style>{style}</style>
</head>
<body>
<main>
{content}
</main>
<footer><a href="{start}">Open Atelier</a></footer>
</body>
</html>
"""
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self'",
        f"style-src {hash_source(STYLE)}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def html_page(title: str, content: str, status: int = 200, *, base: str) -> HTMLResponse:
    """Return a page with the plain text `title` and with `content`, which is HTML.

    `base` is the path below which Atelier is served.
    """
    page = _PAGE.format(title=escape(title), style=STYLE, content=content, start=escape(f"{base}/"))
    headers = {"Cache-Control": "private, no-store", "Content-Security-Policy": _POLICY, "Vary": "Accept"}
    return HTMLResponse(page, status, headers)


def accepts_html(accept: str) -> bool:
    """Return whether a request with this `Accept` header comes from somebody who has opened an address.

    Browsers ask so for a page, and not for an image inside a page. Programs seldom do.
    """
    return "text/html" in accept
