"""The openai module of the sandbox: chat completions answered by the model that the host grants, without key or network.

Both generations of the interface work: openai.ChatCompletion.create(...) and openai.OpenAI().chat.completions.create(...),
with the asynchronous forms acreate and AsyncOpenAI. Responses are dicts whose members are attributes too.
"""
import json

import _sandbox

api_key = None
api_base = base_url = organization = None


class OpenAIError(Exception):
    pass


class APIError(OpenAIError):
    pass


class _Object(dict):
    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return self.get(name)  # optional members that the model left out are None, as in the real library

    def to_dict(self):
        return self

    to_dict_recursive = model_dump = to_dict

    def model_dump_json(self, indent=None):
        return json.dumps(self, indent=indent)


def _create(**body):
    if body.pop("stream", False):
        raise OpenAIError("streaming is not available in the sandbox")
    for transport_option in ("api_key", "timeout", "request_timeout", "extra_headers"):
        body.pop(transport_option, None)
    reply = _sandbox.call(b"L" + json.dumps(body).encode())
    if not reply.startswith(b"+"):
        raise APIError(reply[1:].decode(errors="replace"))
    return json.loads(reply[1:], object_hook=_Object)


async def _acreate(**body):
    return _create(**body)


class ChatCompletion:
    create = staticmethod(_create)
    acreate = staticmethod(_acreate)


class _Namespace:
    def __init__(self, **members):
        self.__dict__.update(members)


class OpenAI:
    def __init__(self, *args, **kwargs):
        self.chat = _Namespace(completions=_Namespace(create=_create))


class AsyncOpenAI:
    def __init__(self, *args, **kwargs):
        self.chat = _Namespace(completions=_Namespace(create=_acreate))


chat = _Namespace(completions=_Namespace(create=_create))
error = _Namespace(OpenAIError=OpenAIError, APIError=APIError)
