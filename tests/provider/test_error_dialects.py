"""The errors of many services: which error each is, and that the service's words are in its details."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import httpx2
import pytest

from core import errors
from core.errors import ImageError
from core.provider.client import ServiceClient
from core.responses.error_translation import error_from_fault, fault_from_body
from tests.support.images import plain_png
from tests.support.openai_service import Behaviour, ErrorRow, OpenAIService
from tests.support.service_client import CALLS, Call, enhance, generate


def translated(status: int, body: object, **call: bool) -> ImageError:
    return error_from_fault(fault_from_body(body, httpx2.Response(status)), **{"paid": True} | call)


def error(message: str, **fields: object) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


SUSPENDED = "Your account org-1 is suspended due to insufficient balance, please recharge your account"
GEMINI_QUOTA = "You exceeded your current quota, please check your plan and billing details."


def gemini_429(message: str, *limits: str) -> list[Any]:
    failure = {"@type": "QuotaFailure", "violations": [{"quotaId": limit} for limit in limits]}
    fields = {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [failure] if limits else []}
    return [error(message, **fields)]


EMPTY_ACCOUNTS = [
    pytest.param(429, error(SUSPENDED, type="exceeded_current_quota_error"), id="Moonshot"),
    pytest.param(
        403,
        error("Your account is not active, it exceeded current quota", type="exceeded_current_quota_error"),
        id="Moonshot, never charged",
    ),
    pytest.param(429, error("余额不足或无可用资源包,请充值。", code="1113"), id="Zhipu"),
    pytest.param(429, error("Insufficient balance or no resource package.", code="1113"), id="Z.ai"),
    pytest.param(429, gemini_429(GEMINI_QUOTA), id="Gemini"),
    pytest.param(
        429,
        gemini_429(f"{GEMINI_QUOTA} limit: 0\nPlease retry in 17.3s.", "RequestsPerMinute-FreeTier"),
        id="Gemini without a free tier",
    ),
    pytest.param(
        429, gemini_429(GEMINI_QUOTA, "RequestsPerMinute", "RequestsPerDay"), id="Gemini, of the day"
    ),
    pytest.param(
        403,
        error("user quota is not enough", type="new_api_error", code="insufficient_user_quota"),
        id="new-api",
    ),
    pytest.param(403, error("用户额度不足, 剩余额度: ＄-0.000002"), id="new-api in Chinese"),
    pytest.param(
        403, error("token quota", code="pre_consume_token_quota_failed", type="one_api_error"), id="one-api"
    ),
    pytest.param(
        402, error("Insufficient Balance", type="unknown_error", code="invalid_request_error"), id="DeepSeek"
    ),
    pytest.param(
        402,
        error("This request requires more credits, or fewer max_tokens.", code=402),
        id="OpenRouter",
    ),
    pytest.param(
        429,
        error(
            "Provider returned error",
            code=429,
            metadata={"raw": json.dumps(error(SUSPENDED, type="exceeded_current_quota_error"))},
        ),
        id="OpenRouter for another service",
    ),
    pytest.param(
        403,
        {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None},
        id="SiliconFlow",
    ),
    pytest.param(
        400,
        error("Access denied, please make sure your account is in good standing.", code="Arrearage"),
        id="DashScope",
    ),
    pytest.param(500, error("insufficient balance (1008)", type="api_error"), id="MiniMax behind a gateway"),
    pytest.param(
        429,
        error("insufficient balance (1008)", type="insufficient_balance_error", http_code="429"),
        id="MiniMax",
    ),
    pytest.param(403, error("overdue", code="AccountOverdueError", type="Forbidden"), id="Volcengine"),
    pytest.param(
        429,
        "Your team has either used all available credits or reached its monthly spending limit.",
        id="xAI",
    ),
    pytest.param(
        403,
        {"code": "forbidden", "error": "Your new team doesn't have any credits or licenses yet."},
        id="xAI, new",
    ),
    pytest.param(
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Your credit balance is too low."},
        },
        id="Anthropic",
    ),
    pytest.param(
        401, error("Insufficient balance. Manage your billing here.", type="CreditsError"), id="OpenCode"
    ),
    pytest.param(
        403, {"code": "INSUFFICIENT_BALANCE", "message": "Insufficient account balance"}, id="capitals"
    ),
    pytest.param(
        429,
        {
            "success": False,
            "errors": [{"code": 4006, "message": "you have used up your daily free allocation"}],
        },
        id="Cloudflare",
    ),
    pytest.param(
        429,
        error(
            f"litellm.RateLimitError: OpenAIException - {GEMINI_QUOTA}", type="throttling_error", code="429"
        ),
        id="LiteLLM for OpenAI",
    ),
    pytest.param(503, error("Insufficient credits", type="server_error"), id="said with 503"),
]


@pytest.mark.parametrize(("status", "body"), EMPTY_ACCOUNTS)
def test_an_empty_account_is_told_from_a_rate_limit(
    service: OpenAIService, client: ServiceClient, status: int, body: Any
) -> None:
    service.script(ErrorRow(status, body, whole=True), always=True)
    for call in (generate, enhance):
        with pytest.raises(errors.QuotaSpent) as caught:
            call(client)
        assert caught.value.charged is False
        assert not caught.value.retryable
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(
            429,
            gemini_429(f"{GEMINI_QUOTA}\nPlease retry in 17.3s.", "GenerateRequestsPerMinutePerProject"),
            id="Gemini, of the minute",
        ),
        pytest.param(429, gemini_429("Resource has been exhausted (e.g. check quota)."), id="Vertex"),
        pytest.param(
            429,
            error(f"{GEMINI_QUOTA} See https://help.test/error-code#token-limit", code="insufficient_quota"),
            id="DashScope",
        ),
        pytest.param(429, error("Throttled", code="Throttling.RateQuota"), id="DashScope's own code"),
        pytest.param(429, error("您当前使用该API的并发数过高", code="1302"), id="Zhipu"),
        pytest.param(429, error("max organization RPM: 3", type="rate_limit_reached_error"), id="Moonshot"),
        pytest.param(
            429,
            error(
                "Rate limit reached for images per min: Limit 5, Used 5. Add a payment method at "
                "https://service.test/account/billing to increase your limit.",
                type="requests",
                code="rate_limit_exceeded",
            ),
            id="OpenAI",
        ),
        pytest.param(
            429, error("No deployments available for selected model, try again in 5 seconds."), id="LiteLLM"
        ),
        pytest.param(200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, id="MiniMax"),
    ],
)
def test_a_rate_limit_is_told_from_an_empty_account(status: int, body: Any) -> None:
    assert type(translated(status, body)) is errors.RateLimited


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # Limits on spending
        pytest.param(
            400,
            error(
                "Budget has been exceeded! Current cost: 26.0, Max budget: 0.25", type="auth_error", code=400
            ),
            errors.BillingLimitReached,
            id="budget, 400",
        ),
        pytest.param(
            429,
            error("Over.", type="budget_exceeded", code="429"),
            errors.BillingLimitReached,
            id="budget, 429",
        ),
        pytest.param(
            400,
            error("ExceededBudget: End User=ada over budget."),
            errors.BillingLimitReached,
            id="user's budget",
        ),
        pytest.param(
            403, error("Key limit exceeded (monthly limit)."), errors.BillingLimitReached, id="key's limit"
        ),
        pytest.param(
            412,
            error("Account is suspended, possibly due to reaching the monthly spending limit"),
            errors.BillingLimitReached,
            id="spending limit",
        ),
        # Models
        pytest.param(
            403,
            error(
                "key not allowed to access model.", type="key_model_access_denied", param="model", code="403"
            ),
            errors.ModelUnavailable,
            id="LiteLLM's key",
        ),
        pytest.param(
            401,
            error("team not allowed to access model.", type="team_model_access_denied", code="401"),
            errors.ModelUnavailable,
            id="LiteLLM's team",
        ),
        pytest.param(
            400, error("Invalid model name passed in model=flux-x."), errors.ModelUnavailable, id="LiteLLM"
        ),
        pytest.param(
            404,
            error("The API deployment for this resource does not exist.", code="DeploymentNotFound"),
            errors.ModelUnavailable,
            id="Azure",
        ),
        pytest.param(404, error("model 'llama' not found"), errors.ModelUnavailable, id="Ollama"),
        pytest.param(
            400,
            {"detail": "Server is pinned to 'org/model-a'; requested 'model-b'."},
            errors.ModelUnavailable,
            id="transformers serve",
        ),
        pytest.param(404, {"error": "model 'llama' not found"}, errors.ModelUnavailable, id="Ollama's own"),
        pytest.param(
            404,
            {"object": "error", "message": "The model `flux` does not exist.", "code": 404},
            errors.ModelUnavailable,
            id="vLLM",
        ),
        pytest.param(400, error("Model Not Exist"), errors.ModelUnavailable, id="DeepSeek"),
        pytest.param(
            400, error("The requested model 'flux' is not supported."), errors.ModelUnavailable, id="GitHub"
        ),
        pytest.param(
            400, error("模型不存在，请检查模型代码。", code="1211"), errors.ModelUnavailable, id="Zhipu"
        ),
        pytest.param(
            400,
            {"code": 20012, "message": "Model does not exist.", "data": None},
            errors.ModelUnavailable,
            id="SiliconFlow",
        ),
        pytest.param(
            503,
            error("No available channel for model flux", code="model_not_found"),
            errors.ModelUnavailable,
            id="new-api",
        ),
        # Keys
        pytest.param(
            400,
            [error("API key not valid.", code=400, status="INVALID_ARGUMENT")],
            errors.ApiKeyRejected,
            id="Gemini's key",
        ),
        pytest.param(
            400,
            {"code": "invalid argument", "error": "Incorrect API key provided."},
            errors.ApiKeyRejected,
            id="xAI's key",
        ),
        pytest.param(
            401,
            error("login fail: carry the key (1004)", type="authorized_error"),
            errors.ApiKeyRejected,
            id="MiniMax",
        ),
        pytest.param(
            403, error("Authentication error", code="10000"), errors.ApiKeyRejected, id="Cloudflare's key"
        ),
        # Headers
        pytest.param(
            400,
            {
                "status": "failure",
                "message": "Either x-portkey-config or x-portkey-provider header is required",
            },
            errors.HeaderMissing,
            id="Portkey",
        ),
        pytest.param(
            400,
            error("Missing required header: anthropic-version"),
            errors.HeaderMissing,
            id="missing header",
        ),
        # Too long
        pytest.param(
            400, error("Prompt must be at most 1000 characters"), errors.PromptTooLong, id="characters"
        ),
        pytest.param(400, error("Prompt 超长", code="1261"), errors.PromptTooLong, id="Zhipu's prompt"),
        pytest.param(
            400,
            error(
                "request (4390 tokens) exceeds the available context size", type="exceed_context_size_error"
            ),
            errors.ContextTooSmall,
            id="llama.cpp",
        ),
        pytest.param(
            500,
            error("Context size has been exceeded.", type="server_error"),
            errors.ContextTooSmall,
            id="llama.cpp, 500",
        ),
        pytest.param(
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens.",
                "code": 400,
            },
            errors.ContextTooSmall,
            id="vLLM's context",
        ),
        # Filters
        pytest.param(
            400,
            error("Your task failed as a result of our safety system.", code="contentFilter"),
            errors.ContentFiltered,
            id="Azure's filter",
        ),
        pytest.param(
            400,
            error("Input data may contain inappropriate content.", code="DataInspectionFailed"),
            errors.ContentFiltered,
            id="DashScope's filter",
        ),
        pytest.param(
            400,
            error("litellm.ContentPolicyViolationError: content management policy", type=None, code="400"),
            errors.PromptBlocked,
            id="LiteLLM's filter",
        ),
        # Places
        pytest.param(
            400,
            [error("User location is not supported for the API use.", status="FAILED_PRECONDITION")],
            errors.RegionUnsupported,
            id="Gemini's countries",
        ),
        # Overload
        pytest.param(503, error("Try later.", type="server_error", code=None), errors.ServiceBusy, id="503"),
        pytest.param(
            503,
            error("Try later.", type="server_error", code="server_error"),
            errors.ServiceBusy,
            id="503, code",
        ),
        pytest.param(529, error("Overloaded", type="invalid_request_error"), errors.ServiceBusy, id="529"),
        pytest.param(503, [error("busy", status="INVALID_ARGUMENT")], errors.ServiceBusy, id="503, a list"),
        # Options
        pytest.param(
            400,
            error("Invalid size '1x1'", type="invalid_request_error"),
            errors.InvalidParameter,
            id="option",
        ),
        pytest.param(
            400,
            {"message": ["size must be one of 1024x1024"], "error": "Bad Request", "statusCode": 400},
            errors.InvalidParameter,
            id="NestJS",
        ),
        pytest.param(
            400,
            error("The requested size exceeds the current pixel budget.", code="invalid_value", param="size"),
            errors.InvalidParameter,
            id="a budget of pixels",
        ),
        pytest.param(
            400,
            error("Invalid value: 'ultra'. Supported values are: 'low', 'high'.", code="invalid_value"),
            errors.InvalidParameter,
            id="OpenAI's option",
        ),
        pytest.param(400, error("prompt is required"), errors.RequestRefused, id="no option"),
        pytest.param(
            422,
            {"detail": [{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}]},
            errors.RequestRefused,
            id="FastAPI, no option",
        ),
        pytest.param(400, "", errors.RequestRefused, id="without words"),
    ],
)
def test_each_refusal_has_its_own_error(status: int, body: Any, kind: type[ImageError]) -> None:
    for paid in (True, False):
        found = translated(status, body, paid=paid)
        assert (type(found), found.charged) == (
            kind,
            None if status == 500 and kind is errors.PromptBlocked else False,
        )


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        pytest.param(
            {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
            errors.QuotaSpent,
            "insufficient balance",
            id="MiniMax, no money",
        ),
        pytest.param(
            {"id": "1", "data": None, "base_resp": {"status_code": 2049, "status_msg": "invalid api key"}},
            errors.ApiKeyRejected,
            "invalid api key",
            id="MiniMax, wrong key",
        ),
        pytest.param(
            {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}},
            errors.PromptBlocked,
            "new_sensitive",
            id="MiniMax, blocked",
        ),
        pytest.param({"detail": "NSFW content detected"}, errors.PromptBlocked, "NSFW", id="detail"),
        pytest.param({"code": 401, "msg": "no such user"}, errors.ApiKeyRejected, "no such user", id="msg"),
        pytest.param(
            {"code": 429, "message": "slow down", "data": []}, errors.RateLimited, "slow down", id="code 429"
        ),
        pytest.param(
            {"code": 20012, "message": "Model does not exist.", "data": None},
            errors.ModelUnavailable,
            "does not exist",
            id="SiliconFlow",
        ),
        pytest.param(
            {"success": False, "errors": [{"code": 5006, "message": "prompt is odd"}], "result": None},
            errors.BadResponse,
            "prompt is odd",
            id="Cloudflare",
        ),
        pytest.param({"error": {"code": 408, "message": "late"}}, errors.ImageError, "late", id="a timeout"),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_a_failure_with_status_200_is_recognised_and_its_words_are_kept(
    service: OpenAIService, client: ServiceClient, call: Call, body: Any, kind: type[ImageError], words: str
) -> None:
    service.script(Behaviour(raw=json.dumps(body).encode()))
    with pytest.raises(kind) as caught:
        call(client)
    assert words in caught.value.details
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"created": 1, "data": []}, id="no data"),
        pytest.param({"code": 0, "message": "success", "data": []}, id="a code of success"),
        pytest.param({"data": [], "base_resp": {"status_code": 0, "status_msg": "success"}}, id="MiniMax"),
    ],
)
def test_an_empty_response_that_reports_no_failure_is_without_an_image(
    service: OpenAIService, client: ServiceClient, body: Any
) -> None:
    service.script(Behaviour(raw=json.dumps(body).encode()))
    with pytest.raises(errors.NoImage) as caught:
        generate(client)
    assert caught.value.details == "no image in it"


def test_an_event_of_progress_is_no_failure(service: OpenAIService, client: ServiceClient) -> None:
    image = {"type": "image_generation.completed", "b64_json": b64encode(plain_png()).decode()}
    service.script(Behaviour(frames=({"message": "queued", "code": "waiting"}, {"detail": "10 %"}, image)))
    assert generate(client).images == (plain_png(),)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param([error("one"), error("two")], "one; two", id="a list"),
        pytest.param({"errors": ["one", "two"]}, "one; two", id="errors"),
        pytest.param({"errors": [{"message": "one"}, {"detail": "two"}]}, "one; two", id="error objects"),
        pytest.param(
            {"errors": {"size": ["is odd"]}, "message": "Invalid."}, "Invalid.; size: is odd", id="by field"
        ),
        pytest.param({"msg": "one"}, "one", id="msg"),
        pytest.param({"status_msg": "one"}, "one", id="status_msg"),
        pytest.param({"base_resp": {"status_msg": "one"}}, "one", id="base_resp"),
        pytest.param({"detail": "one"}, "one", id="detail"),
        pytest.param(
            {"detail": [{"loc": ["body", "n"], "msg": "too big", "type": "x"}]},
            "x: body.n: too big",
            id="FastAPI",
        ),
        pytest.param({"error_code": 17, "error_msg": "one"}, "17: one", id="error_msg"),
        pytest.param(
            {"message": ["one", "two"], "error": "Bad Request"}, "one; two; Bad Request", id="NestJS"
        ),
        pytest.param({"error": "one"}, "one", id="a text"),
        pytest.param({"error": {"error": {"message": "one"}}}, "one", id="nested twice"),
        pytest.param(error(json.dumps(error("one"))), "one", id="JSON in a text"),
        pytest.param({"title": "Unprocessable", "detail": "one"}, "one; Unprocessable", id="problem details"),
        pytest.param({"reply": "one"}, '{"reply": "one"}', id="no usual name"),
        pytest.param("one", "one", id="no JSON"),
    ],
)
def test_the_words_of_the_service_are_in_the_details(body: Any, words: str) -> None:
    assert translated(418, body).details in (f"418: {words}", f"418 {words}")


def test_an_error_nested_without_end_is_read_up_to_a_limit() -> None:
    body: Any = "deep"
    for _ in range(200):
        body = {"error": [body, "near"]}
    assert "near" in translated(418, body).details


# What a gateway no longer waits for


@pytest.mark.parametrize("status", [408, 499, 504, 524])
def test_a_gateway_that_gave_up_leaves_the_outcome_unknown(
    service: OpenAIService, client: ServiceClient, status: int
) -> None:
    service.script(ErrorRow(status, {"message": "Request timed out.", "code": str(status)}))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        generate(client)
    assert caught.value.charged is None
    assert len(service.requests) == 1


# A call that edits, and a call that enhances


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(404, {"detail": "Not Found"}, id="404"),
        pytest.param(405, "Method Not Allowed", id="405"),
        pytest.param(501, "", id="501"),
        pytest.param(400, error("This model does not support image editing."), id="of the model"),
        pytest.param(400, error("image edit is not supported for this provider"), id="in words"),
    ],
)
def test_a_service_without_edits_says_so(status: int, body: Any) -> None:
    assert type(translated(status, body, edit=True)) is errors.EditsUnsupported


def test_a_missing_model_of_an_edit_is_about_the_model() -> None:
    assert type(translated(404, error("model 'flux' not found"), edit=True)) is errors.ModelUnavailable
    assert type(translated(404, {"detail": "Not Found"})) is errors.ServiceAddressWrong


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 418, 422, 429, 500, 503, 504]
)
def test_an_error_of_an_enhancement_never_speaks_of_images(status: int) -> None:
    found = translated(status, "", paid=False)
    assert "image" not in f"{found.message} {' '.join(found.suggestions)}".lower().replace("image_model", "")


@pytest.mark.parametrize("status", [409, 410, 418])
def test_an_enhancement_that_failed_for_an_unknown_reason_says_so(status: int) -> None:
    assert type(translated(status, "", paid=False)) is errors.ImagePromptError
    assert type(translated(status, "")) is errors.ImageGenerationError


def test_an_enhancement_that_a_gateway_gave_up_may_have_been_charged() -> None:
    found = translated(408, "", paid=False)
    assert (type(found), found.charged) == (errors.ServiceTimeout, None)
