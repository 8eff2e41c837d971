"""Removes a text model's reasoning and its control tokens from a response, also while the response arrives.

A service should send the reasoning apart from the text. Many compatible services send it inside the text,
between markers that differ from model to model. A chat template may hold the opening marker, so that the
response has only the closing one.
"""

from __future__ import annotations

import re

_NAMES = (
    r"(?:think|thinking|thoughts?|reasoning|reason|analysis|reflection|scratchpad|plan|planning|cot|"
    r"chain_of_thought|inner_monologue|internal_monologue|inner_thoughts|antthinking|\w{1,12}:think(?:ing)?)"
)
_BAR = r"[|｜]"
# Every repetition is bounded, so that a search takes linear time. A marker in quotes is a part of the prompt.
_MARKER = re.compile(
    rf"""(?<!["“'`])(?:
    (?P<open>
        <{_NAMES}(?:\s[^<>\n]{{0,100}})?(?<!/)> | <details\s[^<>\n]{{0,60}}reasoning[^<>\n]{{0,60}}>
        | (?-i:\[THINK\]) | ◁think▷ | <\|channel\|?>\s{{0,2}}(?!final)\w{{1,20}}
        | <{_BAR}(?:start_thinking|begin_of_thought|inner_prefix|think(?:ing)?){_BAR}>
    ) | (?P<close>
        </{_NAMES}\s?> | (?-i:\[/THINK\]) | ◁/think▷
        | <\|channel\|?>\s{{0,2}}final | <channel\|>
        | <{_BAR}(?:end_thinking|end_of_thought|inner_suffix|/think(?:ing)?){_BAR}>
    ) | (?P<end> </details> ) | (?P<empty> <{_NAMES}\s?/>
    ) | (?P<token>
        (?:<{_BAR}(?:im_start|start|start_header_id){_BAR}>|<start_of_turn>)(?P<role>assistant|model|user|system|)
        | <{_BAR}[^<>|｜\n]{{1,40}}{_BAR}> | <\|\w{{1,20}}> | <\w{{1,20}}\|>
        | </?s> | <(?:eos|bos|pad|end_of_turn|end_of_utterance)>
        | (?-i:\[EOS\]|\[/?INST\])
    ))""",
    re.IGNORECASE | re.VERBOSE,
)
# The start of a marker at the end of a chunk with the character before it, or a quote before a marker.
_UNFINISHED = re.compile(r""".?(?:<[^<]{0,160}|\[[/A-Z\]]{0,7}|◁[^◁]{0,8})\Z|["“'`]\Z""", re.DOTALL)
_LONGEST_MARKER, _LONGEST_ROLE = 162, len("assistant")
# The markers of OpenAI's open models, if the service has removed the control tokens between the words.
_BARE_ANALYSIS, _BARE_FINAL = re.compile(r"\s*analysis(?=[A-Z])"), "assistantfinal"


class ReasoningFilter:
    """Removes reasoning and control tokens from a text that arrives in chunks.

    Text that may be the start of a marker is held back until the next chunk arrives.
    """

    def __init__(self) -> None:
        self._kept = list[str]()
        self._held = ""
        self._in_reasoning = False
        # True after an end token: the model goes on with another turn, which isn't part of its response.
        self._ended = False

    @property
    def text(self) -> str:
        """The text so far, without the reasoning, the control tokens and white space at its start."""
        return "".join(self._kept)

    def feed(self, chunk: str) -> str:
        """Add `chunk` and return the text in it that isn't reasoning."""
        return self._read(self._held + chunk, is_last=False)

    def finish(self) -> str:
        """Return the text that was held back. Call this after the last chunk."""
        return self._read(self._held, is_last=True)

    def _read(self, text: str, *, is_last: bool) -> str:
        new, start, end = list[str](), 0, len(text)
        for marker in _MARKER.finditer(text):
            if not is_last and _may_go_on(marker):
                # Hold back the marker and the character before it, which may be a quote.
                end = max(marker.start() - 1, start)
                break
            if marker.lastgroup == "end" and not self._in_reasoning:
                continue
            self._keep(text[start : marker.start()], new)
            self._apply(marker.lastgroup, new)
            start = marker.end()
        unfinished = None if is_last else _UNFINISHED.search(text, max(start, len(text) - _LONGEST_MARKER))
        end = min(end, unfinished.start()) if unfinished else end
        self._keep(text[start:end], new)
        self._held = text[end:]
        return "".join(new)

    def _keep(self, text: str, new: list[str]) -> None:
        """Add `text` to the kept text and to `new`, unless it is reasoning or comes after the end."""
        if self._in_reasoning or self._ended:
            return
        text = text if self._kept else text.lstrip()
        if text:
            self._kept.append(text)
            new.append(text)

    def _apply(self, kind: str | None, new: list[str]) -> None:
        if kind == "open":
            self._in_reasoning = True
        elif kind in ("close", "end") and self._in_reasoning:
            self._in_reasoning = False
        elif kind == "close":
            # There was no opening marker, so all text before is reasoning.
            self._kept.clear()
            new.clear()
            self._ended = False
        elif kind == "token" and not self._in_reasoning:
            self._ended = bool(self._kept)


def _may_go_on(marker: re.Match[str]) -> bool:
    """Return whether the next chunk may belong to `marker`, which is at the end of the text so far.

    The role of a turn may follow its start token in the next chunks.
    """
    rest = len(marker.string) - marker.end()
    return rest == 0 or (marker["role"] == "" and rest < _LONGEST_ROLE)


def without_reasoning(response: str) -> str:
    """Return `response` without reasoning and control tokens.

    Returns an empty string if `response` holds nothing else.
    """
    if _BARE_ANALYSIS.match(response):
        return response.rpartition(_BARE_FINAL)[2] if _BARE_FINAL in response else ""
    visible = ReasoningFilter()
    visible.feed(response)
    visible.finish()
    return visible.text
