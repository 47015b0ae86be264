"""/v1/completions: reads the request and renders the answer, whole or in frames."""

from __future__ import annotations

from collections.abc import Iterator

from standins.worker import answers, jobs
from standins.worker.desk import Desk
from standins.worker.jobs import Body, Choice, Frame, Job, Limits
from standins.worker.manners import CHOICES, Speech, choices_aborted
from standins.worker.refusals import Refusal, bad_field
from standins.worker.server import Exchange

PROMPTS_MAX = 1024
DEFAULT_TOKENS = 16  # what the completions route gives when max_tokens is left out


async def answer(desk: Desk, exchange: Exchange) -> None:
    body = desk.body(exchange)
    job = read(body, desk.limits, identity=desk.identity(exchange), created=desk.now())
    await desk.engine.run(exchange, job, Speech(whole, frames, choices_aborted, CHOICES))


def read(body: Body, limits: Limits, *, identity: str, created: int) -> Job:
    """The job; raises ``Refusal`` as vLLM would."""
    prompts = _prompts(body)
    if body.get("suffix"):
        raise Refusal("suffix is not currently supported", param="suffix")
    jobs.check_sampling(body)
    stream, include_usage, continuous = jobs.stream_wishes(body)
    wanted = jobs.choices_asked(body)
    echo = body.get("echo") is True
    choices: list[Choice] = []
    for text, tokens in prompts:
        wish = jobs.wish(body, tokens, limits, default_tokens=DEFAULT_TOKENS)
        for turn in range(wanted):
            asked, said = answers.part(text)
            answer = answers.go_on(asked, said, wish, turn)
            shown = text if echo else ""
            choices.append(Choice(len(choices), text, tokens, answer, shown))
    scores = body.get("logprobs")
    return Job(
        identity=f"cmpl-{identity}",
        created=created,
        model=limits.model,
        choices=tuple(choices),
        prompt_tokens=sum(tokens for _, tokens in prompts),
        stream=stream,
        include_usage=include_usage,
        continuous_usage=continuous,
        logprobs=None if scores is None else jobs.top_asked(scores),
    )


def whole(job: Job) -> Body:
    return _head(job) | {
        "choices": [_whole_choice(job, choice) for choice in job.choices],
        "service_tier": None,
        "system_fingerprint": jobs.FINGERPRINT,
        "usage": jobs.usage(job.prompt_tokens, job.completion_tokens, whole=True),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def frames(job: Job) -> Iterator[Frame]:
    return jobs.signed(_frames(job))


def _frames(job: Job) -> Iterator[Frame]:
    """One frame a token in turn for each choice, then usage where asked."""
    longest = max(len(choice.answer.pieces) for choice in job.choices)
    for place in range(max(longest, 1)):
        for choice in job.choices:
            if place < max(len(choice.answer.pieces), 1):
                yield Frame(_token_chunk(job, choice, place), tokens=1)
    if job.include_usage:
        counts = jobs.usage(job.prompt_tokens, job.completion_tokens, whole=False)
        yield Frame(_head(job) | {"choices": [], "usage": counts})


def _token_chunk(job: Job, choice: Choice, place: int) -> Body:
    pieces = choice.answer.pieces
    last = place >= len(pieces) - 1
    text = pieces[place] if pieces else ""
    shown: Body = {
        "index": choice.index,
        "text": choice.echo + text if place == 0 else text,
        "logprobs": None if job.logprobs is None else _scores(job, choice, pieces[: place + 1], 1),
        "finish_reason": choice.answer.finish_reason if last else None,
        "stop_reason": choice.answer.stop_reason if last else None,
        "prompt_token_ids": None,
        "token_ids": None,
    }
    chunk = _head(job) | {"choices": [shown]}
    if job.continuous_usage:
        chunk["usage"] = jobs.usage(choice.prompt_tokens, min(place + 1, len(pieces)), whole=False)
    return chunk


def _whole_choice(job: Job, choice: Choice) -> Body:
    answer = choice.answer
    return {
        "index": choice.index,
        "text": choice.echo + answer.text,
        "logprobs": None if job.logprobs is None else _scores(job, choice, answer.pieces, 0),
        "finish_reason": answer.finish_reason,
        "stop_reason": answer.stop_reason,
        "token_ids": None,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "routed_experts": None,
    }


def _scores(job: Job, choice: Choice, pieces: tuple[str, ...], newest: int) -> Body:
    """The four parallel lists; of the ``newest`` tokens only, or of all for 0."""
    offsets = [len("".join(pieces[:place])) for place in range(len(pieces))]
    values = [answers.logprob(choice.prompt, place) for place in range(len(pieces))]
    others = answers.WORDS[: (job.logprobs or 1) - 1]
    tops = [
        {piece: value} | dict.fromkeys(others, value - 1)
        for piece, value in zip(pieces, values, strict=True)
    ]
    return {
        "text_offset": offsets[-newest:],
        "token_logprobs": values[-newest:],
        "tokens": list(pieces)[-newest:],
        "top_logprobs": tops[-newest:],
    }


def _head(job: Job) -> Body:
    return {
        "id": job.identity,
        "object": "text_completion",
        "created": job.created,
        "model": job.model,
    }


def _prompts(body: Body) -> list[tuple[str, int]]:
    """Each prompt as text with its token count; token ids are given back as numbers."""
    given = body.get("prompt")
    if given is None:
        raise Refusal("Either prompt or prompt_embeds must be provided", param="prompt")
    many = given if isinstance(given, list) and not _is_ids(given) else [given]
    if not 1 <= len(many) <= PROMPTS_MAX:
        raise Refusal("please provide at least one prompt", param="prompt")
    return [_one_prompt(item) for item in many]


def _one_prompt(item: object) -> tuple[str, int]:
    if isinstance(item, str):
        return item, max(answers.count(item), 1)
    if isinstance(item, list) and _is_ids(item):
        return " ".join(str(number) for number in item), len(item)
    raise bad_field("string_type", "prompt", "Input should be a valid string", item)


def _is_ids(items: list[object]) -> bool:
    return bool(items) and all(type(item) is int for item in items)
