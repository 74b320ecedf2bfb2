"""What the tests share: settings and clock from whoever started this script, clients that keep what
they sent and got, and the checks that every single answer has to pass.

The server's clock stands still. To move it, this script writes `advance <milliseconds>` to its
stdout and waits for `ok` on its stdin; whoever starts it answers. Everything else goes to stderr.
"""

import asyncio
import json
import os
import re
import sys
import unittest
from dataclasses import dataclass
from datetime import datetime, timedelta

from sent_dm import (
    AsyncSent,
    DefaultAsyncHttpxClient,
    DefaultHttpxClient,
    NotFoundError,
    Sent,
)

WINDOW_MS = 60_000
LIMIT = 200

REQUEST_ID = re.compile(r"req_[0-9A-Za-z]{20,}")
RESPONSE_TIME = re.compile(r"[0-9]+ms")
TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")

# The commands need stdout for themselves: anything else that is printed ends up on stderr.
_commands = os.fdopen(os.dup(1), "w", encoding="ascii")
os.dup2(2, 1)

# The official client adds these to every request; a test decides on its own headers.
os.environ.pop("SENT_CUSTOM_HEADERS", None)


def setting(name):
    """What whoever starts this script has to tell it."""
    if not os.environ.get(name):
        sys.exit(f"{name} is not set: run `make test`, which starts a server for this script")
    return os.environ[name]


BASE_URL = setting("KEYWARD_BASE_URL")
KEY = setting("KEYWARD_KEY")
TEST_KEY = setting("KEYWARD_TEST_KEY")
READ_ONLY_KEY = setting("KEYWARD_READ_ONLY_KEY")
OTHER_KEY = setting("KEYWARD_OTHER_KEY")
REVOKED_KEY = setting("KEYWARD_REVOKED_KEY")
EXPIRED_KEY = setting("KEYWARD_EXPIRED_KEY")
ACCOUNT_ID = setting("KEYWARD_ACCOUNT_ID")
ACCOUNT_NAME = setting("KEYWARD_ACCOUNT_NAME")

SECRETS = (KEY, TEST_KEY, READ_ONLY_KEY, OTHER_KEY, REVOKED_KEY, EXPIRED_KEY)


def advance(millis):
    """Moves the server's clock; it stands there when this returns."""
    _commands.write(f"advance {millis}\n")
    _commands.flush()
    answer = sys.stdin.readline()
    if answer.strip() != "ok":
        sys.exit(f"asked to advance the clock, the harness answered {answer!r} instead of 'ok'")


def moment(timestamp):
    """The Unix second of a timestamp as the server writes it."""
    return int(datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp())


def later(timestamp, seconds):
    """A timestamp some seconds after another."""
    at = datetime.fromisoformat(timestamp.replace("Z", "+00:00")) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Exchange:
    """A request as it went out, and its answer as it came in. `sent` and `got` are JSON or None."""

    method: str
    target: str
    request_headers: object
    sent: object
    status: int
    headers: object
    body: bytes
    got: object

    @classmethod
    def of(cls, response):
        request = response.request
        return cls(
            method=request.method,
            target=request.url.raw_path.decode("ascii"),
            request_headers=request.headers,
            sent=json.loads(request.content) if request.content else None,
            status=response.status_code,
            headers=response.headers,
            body=response.content,
            got=json.loads(response.content) if response.content else None,
        )

    @property
    def retry(self):
        """Which attempt of one call this was; the client counts from 0."""
        return int(self.request_headers["x-stainless-retry-count"])

    @property
    def remaining(self):
        return int(self.headers["x-ratelimit-remaining"])


class ContractTest(unittest.TestCase):
    """A test that begins with empty accounts and fresh rate windows."""

    maxDiff = None
    seen_request_ids = set()

    def setUp(self):
        self.exchanges = []
        self.production = self.client(KEY)
        self.test = self.client(TEST_KEY)
        self.read_only = self.client(READ_ONLY_KEY)
        self.other = self.client(OTHER_KEY)
        advance(WINDOW_MS)
        for client in (self.production, self.test, self.other):
            self.remove_all(client)
        advance(WINDOW_MS)
        self.exchanges.clear()

    def remove_all(self, client):
        """Deletes every contact that this client sees."""
        # At most two pages, so that a server that does not delete fails this and does not hang it.
        for _ in range(2):
            for contact in client.contacts.list(page_size=100).data.contacts:
                client.contacts.delete(contact.id)
        left = client.contacts.with_raw_response.list().json()["data"]["contacts"]
        self.assertEqual(left, [], "a test begins without contacts")

    def tearDown(self):
        for exchange in self.exchanges:
            try:
                self.check(exchange)
            except (AssertionError, LookupError) as error:
                call = f"{exchange.method} {exchange.target}"
                self.fail(f"the answer {exchange.status} to {call}: {error!r}")

    # Clients

    def client(self, key, *, on_response=None, **options):
        """The official client. It checks each answer against its own models, and all of its traffic
        is kept in `self.exchanges`."""

        def keep(response):
            response.read()
            exchange = Exchange.of(response)
            self.exchanges.append(exchange)
            if on_response is not None:
                on_response(exchange)

        # A proxy named by the environment is of no use for a server on this machine.
        http = DefaultHttpxClient(event_hooks={"response": [keep]}, trust_env=False)
        self.addCleanup(http.close)
        return Sent(
            api_key=key,
            base_url=BASE_URL,
            http_client=http,
            timeout=30,
            _strict_response_validation=True,
            **options,
        )

    def with_async_client(self, key, use):
        """Runs `use(client)`, a coroutine, with the asynchronous client."""

        async def keep(response):
            await response.aread()
            self.exchanges.append(Exchange.of(response))

        async def run():
            http = DefaultAsyncHttpxClient(event_hooks={"response": [keep]}, trust_env=False)
            async with AsyncSent(
                api_key=key,
                base_url=BASE_URL,
                http_client=http,
                timeout=30,
                _strict_response_validation=True,
            ) as client:
                return await use(client)

        return asyncio.run(run())

    @property
    def last(self):
        """The latest exchange."""
        return self.exchanges[-1]

    # Short forms for what most tests do

    def create(self, client, phone_number, **arguments):
        """Creates a contact and gives the whole JSON of it."""
        response = client.contacts.with_raw_response.create(phone_number=phone_number, **arguments)
        self.assertEqual(response.status_code, 201)
        return response.json()["data"]

    def stored(self, client, contact_id):
        """The whole JSON of a contact as it is stored now."""
        response = client.contacts.with_raw_response.retrieve(contact_id)
        self.assertEqual(response.status_code, 200)
        return response.json()["data"]

    def listed(self, client, **arguments):
        """The whole JSON of one page of contacts."""
        response = client.contacts.with_raw_response.list(**arguments)
        self.assertEqual(response.status_code, 200)
        return response.json()["data"]

    def use_up_the_window(self, client):
        for _ in range(LIMIT):
            client.me.retrieve()

    # Checks

    def refused(self, error_class, call, *arguments, code, message, fields=(), **named):
        """Makes a call that must fail, checks the body of the error whole and gives the error.

        `fields` names what `error.details` must speak about; None leaves that to the server.
        """
        with self.assertRaises(error_class) as caught:
            call(*arguments, **named)
        error = caught.exception
        details = error.body["error"].get("details")
        expected = {
            "success": False,
            "error": {
                "code": code,
                "message": message,
                "doc_url": f"https://docs.sent.dm/errors/{code}",
            },
            "meta": {
                "request_id": error.response.headers["x-request-id"],
                "timestamp": error.body["meta"]["timestamp"],
                "version": "v3",
            },
        }
        if fields or (fields is None and details is not None):
            expected["error"]["details"] = details
        self.assertEqual(error.body, expected)
        if fields:
            self.assertEqual(set(details), set(fields))
        for sentences in (details or {}).values():
            self.assertGreater(len(sentences), 0)
            for sentence in sentences:
                self.assertRegex(sentence, r"\w+ \w+")
        return error

    def assert_contact_not_found(self, client, contact_id):
        """No call of this client reaches the contact."""
        contacts = client.contacts
        for call, arguments in (
            (contacts.retrieve, {}),
            (contacts.retrieve_message_summary, {}),
            (contacts.update, {"opt_out": True}),
            (contacts.delete, {}),
        ):
            with self.subTest(call=call.__name__):
                self.refused(
                    NotFoundError,
                    call,
                    contact_id,
                    code="RESOURCE_001",
                    message="Contact not found",
                    **arguments,
                )

    def check(self, exchange):
        """What holds for every answer whatsoever."""
        headers, status = exchange.headers, exchange.status
        self.assertRegex(headers["x-request-id"], rf"\A{REQUEST_ID.pattern}\Z")
        self.assertNotIn(headers["x-request-id"], self.seen_request_ids, "ids are never used twice")
        self.seen_request_ids.add(headers["x-request-id"])
        self.assertRegex(headers["x-response-time"], rf"\A{RESPONSE_TIME.pattern}\Z")
        self.assertEqual(headers["x-api-version"], "v3")
        self.assertEqual("retry-after" in headers, status == 429)
        self.assertEqual("www-authenticate" in headers, status == 401)

        if status != 401:
            limit = int(headers["x-ratelimit-limit"])
            self.assertIn(exchange.remaining, range(limit))
            self.assertRegex(headers["x-ratelimit-reset"], r"\A[0-9]+\Z")

        was_sandbox = bool(exchange.sent) and exchange.sent.get("sandbox") is True
        is_sandbox = "true" if was_sandbox and status < 300 else None
        self.assertEqual(headers.get("x-sandbox"), is_sandbox)

        everything = exchange.body.decode().lower() + str(headers.raw).lower()
        for secret in SECRETS:
            self.assertNotIn(secret.lower(), everything, "no answer repeats a key")

        if status == 204:
            self.assertEqual(exchange.body, b"")
            return
        self.assertRegex(headers["content-type"], r"\Aapplication/json\b")
        body = exchange.got
        if status < 400:
            self.assertEqual(list(body), ["success", "data", "error", "meta"])
            self.assertIs(body["success"], True)
            self.assertIsNone(body["error"])
        else:
            self.assertEqual(list(body), ["success", "error", "meta"])
            self.assertIs(body["success"], False)
        meta = body["meta"]
        self.assertEqual(list(meta), ["request_id", "timestamp", "version"])
        # A repeated answer is that of an earlier request, byte for byte.
        original = headers.get("x-original-request-id", headers["x-request-id"])
        self.assertEqual(meta["request_id"], original)
        self.assertRegex(meta["timestamp"], rf"\A{TIMESTAMP.pattern}\Z")
        self.assertEqual(meta["version"], "v3")
