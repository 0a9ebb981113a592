"""A small server with the /completions of OpenAI on loopback, around any engine; can misbehave.

It answers in the form of vLLM, from a thread of its own; `Manners` are what other servers do
otherwise, `failures` what the next requests meet instead of an answer.
"""

import asyncio
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hornbeam.engine.request import Request, Sampling
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.tree.nodes import ids


@dataclass
class Manners:
    served: tuple = ("tiny",)
    chat_only: bool = False  # speaks at /chat/completions alone
    refuses: tuple = ()  # settings of a chat that it does not take
    names_refused: bool = True
    usage: bool = True  # of a chat
    takes_ids: bool = True
    gives_ids: bool = True
    old_ids: bool = False  # as "token_id:7" among the log-probs
    llama: bool = False  # log-probs and ids as llama.cpp tells them
    logprobs: bool = True
    scale: str = "whole"
    extras: bool = True  # else they are refused
    keeps_stop: bool = True
    keeps_end: bool = True
    tokenize: bool = True
    shift: int = 0  # of all ids: another vocabulary
    restarts: str = ""  # forgets what stands after this: what the assistant has said
    wraps: bool = False  # puts a template around the prompt
    seeded: bool = True
    key: str = ""
    slow: float = 0.0
    updates: bool = False  # its weights can be changed, as those of `hornbeam serve`
    window: int = 0  # 0: none of its own
    tells_window: bool = True


@dataclass
class LittleServer:
    """`start`, then `stop`, or a block; started again it has the same port."""

    engine: object
    model: object = None  # where log-probs are of another scale
    manners: Manners = field(default_factory=Manners)
    failures: list = field(default_factory=list)  # (status, headers, JSON), "drop" or "pass"
    twist: object = None  # what becomes of the answer to a completion; a text is sent as it is
    seen: list = field(default_factory=list)  # bodies of completions
    aborted: int = 0
    port: int = 0
    label: str = "default"  # of its weights
    stuck: bool = False  # a pause waits for requests of others
    update_calls: list = field(default_factory=list)  # what was asked of `updates`

    def start(self):
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        assert ready.wait(20)
        return self

    def stop(self):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def paused(self):
        return not self._goes.is_set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, ready):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._lines, self._waiting, self._running = set(), set(), 0
        self._goes = asyncio.Event()
        self._goes.set()
        server = await asyncio.start_server(self._line, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._over.wait()
        server.close()
        for task in list(self._lines):
            task.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)
        await self.engine.load(self.engine.version)  # nothing is left in flight

    async def _line(self, reader, writer):
        """One connection: requests one after the other."""
        self._lines.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                _, path, _ = head[0].split()
                pairs = (line.split(": ", 1) for line in head[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self._turn(path, headers, body, reader, writer):
                    break
        writer.close()
        self._lines.discard(asyncio.current_task())

    async def _turn(self, path, headers, body, reader, writer):
        work = asyncio.ensure_future(self._answer(path, headers, json.loads(body or "{}")))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.aborted += 1
                return False
            status, more, answer = work.result()
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if not status:
            return False
        result = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        lines = [f"HTTP/1.1 {status} OK", f"content-length: {len(result)}"]
        lines += ["content-type: application/json", *(f"{k}: {v}" for k, v in more.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + result)
        await writer.drain()
        return True

    async def _answer(self, path, headers, body):
        """(status, headers, answer); status 0 drops the connection."""
        how = self.manners
        if self.failures and path.endswith("/completions"):
            failure = self.failures.pop(0)
            if failure != "pass":
                return (0, {}, None) if failure == "drop" else (*failure, {"error": "later"})[:3]
        if how.key and headers.get("authorization") != f"Bearer {how.key}":
            return 401, {}, {"error": {"message": "Unauthorized"}}
        if path == "/v1/models":
            row = {"max_model_len": how.window} if how.window and how.tells_window else {}
            return 200, {}, {"data": [{"id": name, **row} for name in how.served]}
        if path == "/tokenize" and how.tokenize:
            return 200, {}, {"tokens": self._there(self.engine.chat.encode(body["prompt"]))}
        if how.updates and not path.startswith("/v1/"):
            return await self._update(path[1:], body)
        if path == "/v1/chat/completions" and how.chat_only:
            return await self._chat(body)
        if path != "/v1/completions" or how.chat_only:
            return 404, {}, {"detail": "Not Found"}
        await self._goes.wait()
        if "prompt_logprobs" in body:
            if how.window and len(body["prompt"]) + body["max_tokens"] > how.window:
                return 400, {}, {"error": {"message": "maximum context length"}}
            return 200, {}, {"choices": [{"prompt_logprobs": self._read(body["prompt"])}]}
        self._running += 1
        try:
            return await self._said(body)
        finally:
            self._running -= 1

    async def _chat(self, body):
        """An answer in the form of a chat, as hosted servers give it."""
        how, chat = self.manners, self.engine.chat
        self.seen.append(body)
        if odd := [name for name in how.refuses if name in body]:
            text = f"Unsupported parameter: '{odd[0]}' is not supported with this model."
            text += " Use 'max_completion_tokens' instead." * (odd[0] == "max_tokens")
            error = {"message": text if how.names_refused else "Bad request", "param": None}
            return 400, {}, {"error": {**error, "type": "invalid_request_error"}}
        most = body.get("max_tokens", body.get("max_completion_tokens"))
        seed = body.get("seed", len(self.seen)) if how.seeded else len(self.seen)
        sampling = Sampling(most, body.get("temperature", 1.0), body.get("top_p", 1.0))
        tools = body.get("tools", ())
        prompt = chat.render(body["messages"], {}, tools)
        if how.window and len(prompt) + most > how.window:
            text = f"This model's maximum context length is {how.window} tokens. However, you"
            text += f" requested {len(prompt) + most} tokens ({len(prompt)} in the messages,"
            text += f" {most} in the completion)."
            return 400, {}, {"error": {"message": text, "code": "context_length_exceeded"}}
        done = await self.engine.generate(Request(prompt, sampling, seed))
        message = {"role": "assistant", "content": done.text, "refusal": None}
        if tools and (called := chat.read(done.tokens, tools)).calls:
            message |= {**called.message(), "content": called.text or None}
        ended = "tool_calls" if "tool_calls" in message else done.finish
        choice = {"index": 0, "message": message, "finish_reason": ended, "logprobs": None}
        answer = {"object": "chat.completion", "model": body["model"], "choices": [choice]}
        if how.usage:
            counts = {"prompt_tokens": len(prompt), "completion_tokens": len(done.tokens)}
            answer["usage"] = {**counts, "total_tokens": sum(counts.values())}
        return 200, {}, self.twist(answer) if self.twist else answer

    async def _said(self, body):
        how = self.manners
        self.seen.append(body)
        if not how.seeded:
            body = {**body, "seed": len(self.seen)}
        waits = asyncio.ensure_future(asyncio.sleep(how.slow))
        self._waiting.add(waits)
        await asyncio.wait({waits})
        self._waiting.discard(waits)
        try:
            if waits.cancelled():
                return 200, {}, {"choices": [{"text": "", "finish_reason": "abort"}]}
            answer = await self._complete(body)
            return 200, {}, self.twist(answer) if self.twist else answer
        except PromptTooLong as error:
            return 400, {}, {"error": {"message": str(error), "code": 400}}
        except (EngineError, ValueError) as error:
            return 400, {}, {"error": {"message": str(error)}}

    async def _update(self, path, body):
        """The end points of vLLM for trainers."""
        path, _, query = path.partition("?")
        self.update_calls.append(path)
        if path == "weight_info":
            return 200, {}, {"weight_version": self.label}
        if path == "is_paused":
            return 200, {}, {"is_paused": self.paused}
        if path == "pause":
            assert query == "mode=wait"
            self._goes.clear()
            while self._running or self.stuck:
                await asyncio.sleep(0.01)
            await self.engine.load(self.engine.version)  # empties its cache
        if path == "resume":
            self._goes.set()
        if path == "abort_requests":
            for waits in self._waiting:
                waits.cancel()
        if path == "update_weight_version":
            self.label = body["new_version"]
        if path == "collective_rpc":
            from hornbeam.engine.weight_transfer import read_weights

            assert body["method"] == "hornbeam_load"
            try:
                found = dict(read_weights(Path(body["args"][0])))
            except EngineError:
                return 500, {}, {"error": "Internal Server Error"}
            self.model.load_state_dict(found, strict=False)
        return 200, {}, {}

    def _read(self, tokens):
        """Log-probs of a prompt's tokens, the first one's None, as vLLM tells them."""
        import torch

        with torch.no_grad():
            rows = self.model(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)
        text = [{str(t): {"logprob": rows[n, t].item()}} for n, t in enumerate(tokens[1:])]
        return [None, *text]

    def _there(self, tokens):
        return [token + self.manners.shift for token in tokens]

    def _prompt(self, body):
        given, how, chat = body["prompt"], self.manners, self.engine.chat
        if not isinstance(given, str) and not how.takes_ids:
            raise ValueError("prompt: a string is expected")
        prompt = chat.encode(given) if isinstance(given, str) else ids(given)
        if how.wraps:
            prompt = chat.render([{"role": "user", "content": chat.spell(prompt)}])
        if how.restarts:
            begin = chat.encode(how.restarts)
            at = max(i for i in range(len(prompt)) if prompt[i : i + len(begin)] == begin)
            prompt = prompt[: at + len(begin)]
        return prompt

    async def _complete(self, body):
        how, chat = self.manners, self.engine.chat
        plain = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop"}
        plain |= {"presence_penalty", "frequency_penalty", "logprobs"}
        if not how.extras and (odd := body.keys() - plain):
            raise ValueError(f"Unrecognized request argument supplied: {min(odd)}")
        prompt, most = self._prompt(body), body["max_tokens"]
        if how.window and len(prompt) + most > how.window:
            raise PromptTooLong(
                f"This model's maximum context length is {how.window} tokens. However, you"
                f" requested {most} output tokens and your prompt contains {len(prompt)}"
            )
        top_k = max(0, body.get("top_k", 0))
        stop = tuple(body.get("stop", ()))
        sampling = Sampling(most, body["temperature"], body["top_p"], top_k, stop)
        done = await self.engine.generate(Request(prompt, sampling, body["seed"]))
        tokens, text = done.tokens, done.text
        cut = next((s for s in stop if s in text), None)
        if cut and not (how.keeps_stop and body.get("include_stop_str_in_output")):
            text = text[: text.index(cut)]
        if not how.keeps_end and tokens[-1] in chat.ends:
            tokens = tokens[:-1]
        choice = {"index": 0, "text": text, "finish_reason": done.finish}
        if body.get("return_token_ids") and how.gives_ids:
            choice["token_ids"] = self._there(tokens)
            choice["prompt_token_ids"] = self._there(prompt)
        if "logprobs" in body and how.logprobs:
            choice["logprobs"] = self._logprobs(prompt, tokens, done, sampling)
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(done.tokens)}
        usage["prompt_tokens_details"] = {"cached_tokens": done.cached}
        return {"object": "text_completion", "choices": [choice], "usage": usage}

    def _logprobs(self, prompt, tokens, done, sampling):
        how = self.manners
        found = list(done.logprobs)[: len(tokens)]
        if how.scale != "whole":
            found = self._of_scale(prompt, tokens, sampling)
        if how.llama:
            return {"content": [{"id": t, "logprob": p} for t, p in zip(tokens, found)]}
        result = [f"token_id:{t}" if how.old_ids else f"<{t}>" for t in tokens]
        return {"tokens": result, "token_logprobs": found, "top_logprobs": None}

    def _of_scale(self, prompt, tokens, sampling):
        import torch

        from hornbeam.engine.token_sampling import truncate

        rows = torch.tensor([[*prompt, *tokens]])
        with torch.no_grad():
            logits = self.model(input_ids=rows).logits[0, len(prompt) - 1 : -1].float()
        if self.manners.scale == "cut" and sampling.temperature:
            probs = (logits / sampling.temperature).softmax(-1)
            top_k = torch.full((len(probs),), sampling.top_k or probs.shape[1])
            probs = truncate(probs, top_k, torch.full((len(probs),), sampling.top_p))
            logits = (probs / probs.sum(-1, keepdim=True)).log()
        return logits.log_softmax(-1).gather(1, torch.tensor(list(tokens))[:, None])[:, 0].tolist()


def tiny_world(folder, context=160):
    """(model, chat) of a tiny model whose next tokens are far from equally likely."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hornbeam.chat import TemplateChat
    from hornbeam.models import tiny_model
    from hornbeam.models.catalogue import quiet

    tiny_model.make(folder, width=16, layers=1, heads=2)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, max_position_embeddings=context)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(12)
    return model.eval(), TemplateChat(AutoTokenizer.from_pretrained(folder))


async def answered(engine, known, requests):
    """Answers or errors of requests that go at once; the engine is closed then."""
    engine.abilities = known
    jobs = [engine.generate(request) for request in requests]
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    await engine.aclose()
    return answers
