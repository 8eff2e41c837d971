"""Maps a service's failures to the error classes of core.errors, by tables of codes, words and HTTP statuses.

The codes are those of OpenAI, Azure, Gemini, xAI, Moonshot, Zhipu, MiniMax, DashScope, Volcengine,
SiliconFlow, LiteLLM, new-api, llama.cpp and FastAPI. The words of the error message are searched if the code
is missing or too general.
"""

from __future__ import annotations

import re

import httpx2

from core.errors import (
    ApiKeyRejected,
    BillingLimitReached,
    ContentFiltered,
    ContextTooSmall,
    EditsUnsupported,
    FaultUnknown,
    HeaderMissing,
    ImageError,
    ImageGenerationError,
    ImagePromptError,
    InvalidParameter,
    ModelUnavailable,
    NotDrawable,
    OrganisationUnverified,
    ParameterRefused,
    PromptBlocked,
    PromptTooLong,
    ProxyRejected,
    QuotaSpent,
    RateLimited,
    RegionUnsupported,
    RequestRefused,
    RequestTooLarge,
    ResponseTimeout,
    SchemeWrong,
    ServiceAccessDenied,
    ServiceAddressWrong,
    ServiceBusy,
    ServiceFailed,
    ServiceTimeout,
)

# The code of the offline engine for a word after `!fail` that it doesn't know.
UNKNOWN_FAULT = "unknown_fault"
# Upper and lower case, and signs other than letters and digits, don't matter. A code that begins with
# "base_resp." is MiniMax's. A code that is only a number is Zhipu's or SiliconFlow's.
_CODES: dict[type[ImageError], str] = {
    ApiKeyRejected: """
        invalid_api_key api_key_invalid incorrect_api_key invalid_key authentication_error auth_error
        invalid_authentication_error authorized_error unauthenticated unauthorized
        base_resp.1004 base_resp.2049
    """,
    ServiceAccessDenied: "permission_denied permission_error access_denied forbidden",
    ModelUnavailable: """
        model_not_found model_not_exist deployment_not_found invalid_endpoint_or_model.not_found
        key_model_access_denied team_model_access_denied user_model_access_denied org_model_access_denied
        project_model_access_denied model_access_denied model.access_denied model_not_open unknown_model
        invalid_model model_not_supported operation_not_supported 1211 1311 20012
    """,
    RegionUnsupported: "unsupported_country_region_territory",
    QuotaSpent: """
        insufficient_quota credit_balance_exhausted exceeded_current_quota_error insufficient_user_quota
        pre_consume_token_quota_failed insufficient_balance insufficient_balance_error insufficient_credits
        insufficient_funds credits_error arrearage account_overdue_error allocation_quota.free_tier_only
        payment_required billing_not_active 1113 1309 30001 30011 base_resp.1008 base_resp.2056
    """,
    BillingLimitReached: """
        billing_hard_limit_reached budget_exceeded set_limit_exceeded spend_limit_exceeded
        key_spend_limit_exceeded 1304 1308 1310
    """,
    RateLimited: """
        rate_limit_exceeded rate_limit_error rate_limit_reached_error slow_down too_many_requests
        throttling_error throttling throttling.rate_quota throttling.burst_rate throttling.allocation_quota
        limit_requests limit_burst_rate resource_exhausted 1302 1303 1305
        base_resp.1002 base_resp.1041 base_resp.2045
    """,
    ServiceBusy: """
        server_is_overloaded overloaded_error engine_overloaded_error model_overloaded server_overloaded
        service_unavailable unavailable 1312
    """,
    ServiceFailed: "server_error internal_error internal_server_error",
    PromptBlocked: """
        moderation_blocked content_policy_violation responsible_ai_policy_violation
        base_resp.1026 base_resp.1027
    """,
    ContentFiltered: """
        content_filter content_filter_error data_inspection_failed input_text_sensitive_content_detected
        output_image_sensitive_content_detected 1301
    """,
    NotDrawable: "image_generation_user_error",
    InvalidParameter: "invalid_value invalid_parameter invalid_argument base_resp.2013",
    FaultUnknown: UNKNOWN_FAULT,
    ParameterRefused: "unknown_parameter unsupported_parameter unsupported_value extra_forbidden",
    PromptTooLong: "string_above_max_length string_too_long prompt_too_long 1261",
    ContextTooSmall: "context_length_exceeded exceed_context_size_error base_resp.1039",
}


def _plain(code: str) -> str:
    return re.sub(r"[\W_]", "", code).lower()


_BY_CODE = {_plain(code): kind for kind, codes in _CODES.items() for code in codes.split()}
MONEY = (QuotaSpent, BillingLimitReached)
# The codes of these classes are general. The words of the message may name a more specific class.
VAGUE = (ApiKeyRejected, ServiceAccessDenied, ServiceFailed, NotDrawable, InvalidParameter)
# Some services call a rate limit per minute a quota.
_PASSES_SOON = re.compile(r"#(?:token|rate)-limit\b|per[ _-]?min(?:ute)?\b|PerMinute", re.IGNORECASE)
_STAYS = re.compile(r"limit: 0\b|per[ _-]?(?:day|month)\b|PerDay", re.IGNORECASE)
# The first pattern that is found counts. Searching takes linear time: each repetition has a limit, never
# backtracks because its group is atomic (?>…), or starts at the beginning of a line.
_WORDS: tuple[tuple[type[ImageError], str], ...] = (
    (OrganisationUnverified, r"must be verified"),
    (SchemeWrong, r"HTTP request (?:was sent )?to (?:an )?HTTPS (?:port|server)"),
    (QuotaSpent, r"exceeded (?:your |the )?current quota"),
    (QuotaSpent, r"insufficient (?:\w{1,20} )?(?:balance|credits?|funds|quota)\b"),
    (
        QuotaSpent,
        r"(?:balance|credits?|quota)(?: is| are)? (?:insufficient|exhausted|not enough|too low|used up)",
    ),
    (QuotaSpent, r"(?:quota|credits?|balance) (?:has|have) been (?:exhausted|used up)"),
    (QuotaSpent, r"not enough (?:credits?|quota|balance|funds)"),
    (QuotaSpent, r"(?:out of|used all available|requires? more|need more|purchase more|any) credits"),
    (QuotaSpent, r"more credits are required|free allocation|account is in good standing"),
    (QuotaSpent, r"overdue (?:balance|payment)|in arrears|unpaid invoice|please (?:recharge|top up)"),
    (QuotaSpent, r"余额不足|余额已用完|额度不足|额度已用尽|已欠费|请充值"),
    (BillingLimitReached, r"budget (?:has been |is |was )?(?:exceeded|reached|spent)"),
    (BillingLimitReached, r"(?:exceeded|exceeds|over|crossed|reached) ?(?:your |the |its )?budget"),
    (BillingLimitReached, r"(?:billing|spend|spending) (?:hard )?limit|usage limit for this billing"),
    (BillingLimitReached, r"key limit exceeded"),
    (RegionUnsupported, r"(?:country|region|territory|location)\b[^.\n]{0,20} not (?:supported|available)"),
    (PromptBlocked, r"^(?>.*?rejected ).*safety system"),
    (PromptBlocked, r"as a result of (?:our|the) safety|content (?:management )?policy"),
    (PromptBlocked, r"content (?:filter|moderation|safety)|not safe for work|\bnsfw\b|responsible ai"),
    (PromptBlocked, r"(?:by|fails?|failed|did not pass) (?:the |our )?(?:moderation|safety)"),
    (
        PromptBlocked,
        r"(?:sensitive|inappropriate|unsafe|prohibited|explicit) (?:content|words?|image|material)",
    ),
    (PromptBlocked, r"new_sensitive|image is sensitive|敏感|违规|不安全"),
    (ContextTooSmall, r"context (?:length|size|window)|n_ctx|max_model_len|max_tokens must be at least 1\b"),
    (PromptTooLong, r"(?:prompt|text|input|string|description)\b[^.\n]{0,40} too long|超长|过长"),
    (PromptTooLong, r"at most \d{1,9} (?:characters|tokens)|max(?:imum)?[_ ](?:\w{1,20} )?length"),
    (
        HeaderMissing,
        r"(?<!authorization) headers?\b[^.\n]{0,20} (?:required|missing|not (?:found|set|provided))",
    ),
    (HeaderMissing, r"(?:missing|requires?) (?:the |a |required |request ){0,2}headers?\b(?! authorization)"),
    (ApiKeyRejected, r"api[ _-]?key[^.\n]{0,40} (?:not valid|invalid|expired|incorrect|not found|revoked)"),
    (
        ApiKeyRejected,
        r"(?:invalid|incorrect|wrong|expired|missing|no) (?:\w{1,20} ){0,2}(?:api|x-api)[ _-]?key",
    ),
    (ApiKeyRejected, r"(?:invalid|expired|missing|no) (?:\w{1,20} ){0,2}(?:subscription key|credentials)"),
    (ApiKeyRejected, r"(?:invalid|expired) (?:\w{1,20} ){0,2}(?:bearer|authentication|server|access) token"),
    (ApiKeyRejected, r"authentication (?:failed|fails|error)|login fail|authorization header"),
    (ApiKeyRejected, r"无效的令牌|令牌已过期|身份验证失败"),
    (EditsUnsupported, r"image edit(?:s|ing)? (?:is|are) not (?:supported|available|implemented)"),
    (EditsUnsupported, r"not support (?:image )?edit(?:s|ing)?\b|not support image[- ]to[- ]image"),
    (ModelUnavailable, r"^(?>.*?\b(?:models?|deployment)\b).*(?:not found|(?:not|n't) exist|no access)"),
    (ModelUnavailable, r"(?:unknown|invalid|no such|unsupported|unavailable) model\b|not a valid model"),
    (ModelUnavailable, r"not (?:allowed|authori[sz]ed|permitted) to (?:access|use) (?:the |this )?model"),
    (
        ModelUnavailable,
        r"no (?:available )?(?:channel|deployments?|endpoints?|providers?) (?:available |found )?for",
    ),
    (ModelUnavailable, r"no (?:available )?(?:endpoints?|providers?) found|无可用渠道|模型不存在"),
    (ModelUnavailable, r"(?:could not|failed to|cannot) load (?:the )?model|work with the specified model"),
    (ModelUnavailable, r"server is pinned to\b"),
    (ModelUnavailable, r"not support (?:image generation|chat completions?)"),
    (ModelUnavailable, r"model:? ['\"`][^'\"`\n]{1,80}['\"`] is not (?:supported|available)"),
)
_PATTERNS = tuple((kind, re.compile(words, re.IGNORECASE | re.MULTILINE)) for kind, words in _WORDS)
# In characters. Longer messages are searched only up to here.
_MAX_SEARCHED = 20_000
_OPTION = re.compile(
    r"\b(?:size|quality|style|background|n|output_format|format|resolution|dimensions?|aspect[ _]ratio"
    r"|width|height|mask|options?|parameters?|response_format|moderation)\b",
    re.IGNORECASE,
)
_BY_STATUS: dict[int, type[ImageError]] = {
    401: ApiKeyRejected,
    402: QuotaSpent,
    403: ServiceAccessDenied,
    404: ServiceAddressWrong,
    405: ServiceAddressWrong,
    407: ProxyRejected,
    413: RequestTooLarge,
    429: RateLimited,
    503: ServiceBusy,
    529: ServiceBusy,
}
RATE_LIMITED, NOT_THERE, OVERLOADED = 429, (404, 405, 501), (503, 529)
# With these statuses, a gateway reports that it stopped waiting. The service behind it may finish the call.
_GATEWAY_TIMEOUTS = (408, 499, 504, 524)
# Statuses that mean the same as the code of an error in a successful response.
_IN_BODY = frozenset(map(str, (401, 402, 403, 413, 429, *_GATEWAY_TIMEOUTS)))


def class_by_code(*codes: str) -> type[ImageError] | None:
    """Return the class for the first of `codes` that is known, or None."""
    return next((_BY_CODE[code] for code in map(_plain, codes) if code in _BY_CODE), None)


def class_by_words(words: str, *, only_money: bool = False) -> type[ImageError] | None:
    """Return the class for the message `words`, or None. With `only_money`, find only those in MONEY."""
    text = words[:_MAX_SEARCHED]
    kinds = ((kind, pattern) for kind, pattern in _PATTERNS if not only_money or kind in MONEY)
    return next((kind for kind, pattern in kinds if pattern.search(text)), None)


def passes_soon(words: str) -> bool:
    """Return whether `words`, a message about a spent quota, mean a limit per minute that soon resets."""
    text = words[:_MAX_SEARCHED]
    return bool(_PASSES_SOON.search(text)) and not _STAYS.search(text)


def class_by_status(status: int | None, code: str, *, paid: bool) -> type[ImageError] | None:
    """Return the class for an HTTP status, or None if the class depends on what the service says.

    If `status` is None, the response had a success status. A status in `code`, the code of the error, then
    counts instead. `paid` is true if the call buys images.
    """
    if status is None and code in _IN_BODY:
        status = int(code)
    if status in _GATEWAY_TIMEOUTS:
        return ResponseTimeout if paid else ServiceTimeout
    if status is None or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return _BY_STATUS.get(status or 0, ServiceFailed)
    if status in (400, 422):
        return None
    usual = ImageGenerationError if paid else ImagePromptError
    return _BY_STATUS.get(status, ServiceAddressWrong if status < httpx2.codes.BAD_REQUEST else usual)


def class_of_refusal(words: str, param: str | None) -> type[ImageError]:
    """Return the class for a refused request whose code and words aren't in the tables.

    InvalidParameter if the message or `param`, the refused parameter, names an option of the call. Otherwise
    RequestRefused.
    """
    about_options = _OPTION.search(f"{param} {words[:_MAX_SEARCHED]}")
    return InvalidParameter if about_options else RequestRefused
