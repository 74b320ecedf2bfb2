"""The official Python client on users and webhooks, against the real server.

Started like test_client.py. Webhooks are made with the test key: those may go to this machine, where a
receiver of this script waits.
"""

import base64
import hashlib
import hmac
import json
import queue
import threading
import unittest
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

import harness
from harness import ContractTest, advance, later
from sent_dm import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)

NOBODY = "00000000-0000-4000-8000-000000000000"
INVALID = "Request validation failed"
URL = "https://crm.example/hook"


class Receiver:
    """Keeps what it gets, and answers with the next status that it was given, or 200."""

    def __init__(self):
        self.got, self.statuses = queue.Queue(), queue.Queue()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = 200 if outer.statuses.empty() else outer.statuses.get()
                outer.got.put((dict(self.headers), body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self):
        return self.got.get(timeout=30)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def signature(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['x-webhook-id']}.{headers['x-webhook-timestamp']}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Users(ContractTest):
    def setUp(self):
        super().setUp()
        for client in (self.production, self.test):
            for user in client.users.list().data.users:
                # The last admin stays while there is no owner.
                if user.role != "admin":
                    client.users.remove(user.id)
        self.exchanges.clear()

    def invite(self, client, **changes):
        asked = {"email": f"{uuid.uuid4()}@example.com", "name": "Bob", "role": "developer"}
        return client.users.invite(**{**asked, **changes}).data

    def test_a_member_lives_from_invite_to_remove(self):
        for client in (self.production, self.test):
            email = f"{uuid.uuid4()}@example.com"
            user = self.invite(client, email=email)
            self.assertEqual(self.last.status, 201)
            created = self.last.got["data"]
            self.assertEqual(
                created,
                {
                    "id": user.id,
                    "customer_id": harness.ACCOUNT_ID,
                    "email": email,
                    "name": "Bob",
                    "role": "developer",
                    "status": "invited",
                    "invited_at": created["created_at"],
                    "last_login_at": None,
                    "created_at": created["created_at"],
                    "updated_at": created["created_at"],
                },
            )
            client.users.retrieve(user.id)
            self.assertEqual(self.last.got["data"], created)
            advance(5000)
            client.users.update_role(user.id, role="billing")
            changed = {**created, "role": "billing", "updated_at": later(created["created_at"], 5)}
            self.assertEqual(self.last.got["data"], changed)
            client.users.list()
            self.assertIn(changed, self.last.got["data"]["users"])
            self.assertIsNone(client.users.remove(user.id))
            self.assertEqual(self.last.status, 204)
            self.refused(
                NotFoundError,
                client.users.retrieve,
                user.id,
                code="RESOURCE_006",
                message="User not found",
            )

    def test_errors_have_their_classes(self):
        for call, arguments, fields in (
            (self.production.users.invite, {}, ["email", "name", "role"]),
            (
                self.production.users.invite,
                {"email": "a@example.com", "name": "A", "role": "owner"},
                ["role"],
            ),
        ):
            self.refused(
                BadRequestError, call, code="VALIDATION_001", message=INVALID, fields=fields, **arguments
            )
        self.refused(
            PermissionDeniedError,
            self.read_only.users.invite,
            code="AUTH_004",
            message="Insufficient permissions for this operation",
            email="a@example.com",
            name="A",
            role="admin",
        )
        self.refused(
            AuthenticationError,
            self.client(harness.REVOKED_KEY).users.list,
            code="AUTH_002",
            message="Invalid or expired API key",
        )
        self.refused(
            BadRequestError,
            self.production.users.retrieve,
            "not-a-uuid",
            code="VALIDATION_003",
            message="Invalid GUID format",
        )

    def test_invitations_are_sensitive_and_the_eleventh_of_a_minute_waits(self):
        client = self.client(harness.KEY, max_retries=0)
        for _ in range(10):
            self.invite(client, sandbox=True)
        self.assertEqual((self.last.headers["x-ratelimit-limit"], self.last.remaining), ("10", 0))
        with self.assertRaises(RateLimitError):
            self.invite(client, sandbox=True)
        # With its own retries the client gets through once the window is over.
        patient = self.client(
            harness.KEY,
            max_retries=1,
            on_response=lambda exchange: advance(60_000) if exchange.status == 429 else None,
        )
        import time

        waited, time_sleep = [], time.sleep
        time.sleep = waited.append
        try:
            self.assertEqual(self.invite(patient, sandbox=True).name, "Bob")
        finally:
            time.sleep = time_sleep
        self.assertEqual(len(waited), 1)

    def test_a_key_of_idempotency_makes_one_of_two(self):
        key = f"test-{uuid.uuid4()}"
        email = f"{uuid.uuid4()}@example.com"
        first = self.invite(self.production, email=email, idempotency_key=key)
        original = self.last
        again = self.invite(self.production, email="other@example.com", idempotency_key=key)
        self.assertEqual((again.id, self.last.body), (first.id, original.body))
        self.assertEqual(self.last.headers["idempotent-replayed"], "true")
        self.assertEqual(
            self.last.headers["x-original-request-id"], original.headers["x-request-id"]
        )


class Webhooks(ContractTest):
    def setUp(self):
        super().setUp()
        for client in (self.production, self.test, self.other):
            for webhook in client.webhooks.list(page_size=100).data.webhooks:
                client.webhooks.delete(webhook.id)
        advance(harness.WINDOW_MS)
        self.exchanges.clear()

    def made(self, client, **changes):
        asked = {"display_name": "CRM", "endpoint_url": URL, "event_types": ["contact"]}
        return client.webhooks.create(**{**asked, **changes}).data

    def test_all_methods_on_a_webhook_from_create_to_delete(self):
        for client in (self.production, self.test):
            webhook = self.made(client, event_filters={"contact": ["opt_out"]}, retry_count=5)
            self.assertEqual(self.last.status, 201)
            self.assertRegex(webhook.signing_secret, r"\Awhsec_[A-Za-z0-9+/]{43}=\Z")
            self.assertEqual((webhook.retry_count, webhook.timeout_seconds), (5, 30))
            whole = {**self.last.got["data"], "signing_secret": None}
            client.webhooks.retrieve(webhook.id)
            self.assertEqual(self.last.got["data"], whole)
            client.webhooks.update(webhook.id, display_name="New", timeout_seconds=10)
            whole = {**self.last.got["data"], "signing_secret": None}
            self.assertEqual(
                (whole["display_name"], whole["timeout_seconds"], whole["event_filters"]),
                ("New", 10, {"contact": ["opt_out"]}),
            )
            off = client.webhooks.toggle_status(webhook.id, is_active=False).data
            self.assertFalse(off.is_active)
            listed = client.webhooks.list(search="new", is_active=False).data.webhooks
            self.assertEqual([one.id for one in listed], [webhook.id])
            self.assertEqual(client.webhooks.list(is_active=True).data.webhooks, [])
            rotated = client.webhooks.rotate_secret(webhook.id).data
            self.assertNotEqual(rotated.signing_secret, webhook.signing_secret)
            self.assertIsNone(client.webhooks.delete(webhook.id))
            self.assertEqual(self.last.status, 204)
            for call, arguments in (
                (client.webhooks.retrieve, {}),
                (client.webhooks.update, {"retry_count": 1}),
                (client.webhooks.delete, {}),
                (client.webhooks.list_events, {}),
                (client.webhooks.toggle_status, {"is_active": True}),
                (client.webhooks.rotate_secret, {}),
                (client.webhooks.test, {"event_type": "contact.created"}),
            ):
                self.refused(
                    NotFoundError,
                    call,
                    webhook.id,
                    code="RESOURCE_008",
                    message="Webhook not found",
                    **arguments,
                )

    def test_errors_have_their_classes(self):
        self.refused(
            BadRequestError,
            self.production.webhooks.create,
            code="VALIDATION_001",
            message=INVALID,
            fields=["display_name", "endpoint_url", "event_types"],
        )
        self.refused(
            PermissionDeniedError,
            self.read_only.webhooks.create,
            code="AUTH_004",
            message="Insufficient permissions for this operation",
            display_name="x",
            endpoint_url=URL,
            event_types=["contact"],
        )
        for _ in range(50):
            self.made(self.test)
        with self.assertRaises(UnprocessableEntityError) as caught:
            self.made(self.test)
        self.assertEqual(caught.exception.body["error"]["code"], "BUSINESS_008")
        with self.assertRaises(ConflictError):
            self.create(self.production, "+14155551234")
            self.create(self.production, "+14155551234")

    def test_pages_of_webhooks_go_on_by_themselves(self):
        made = [self.made(self.test, display_name=f"hook {n}").id for n in range(7)]
        found = [one["id"] for page in (1, 2, 3) for one in self.page(page)]
        self.assertEqual(found, list(reversed(made)))

    def page(self, number):
        data = self.test.webhooks.with_raw_response.list(page=number, page_size=3).json()["data"]
        self.assertEqual(data["pagination"]["has_more"], number < 3)
        return data["webhooks"]

    def test_event_types_are_a_tree_of_two_levels(self):
        data = self.production.webhooks.list_event_types().data
        families = {family.name: family for family in data.event_types}
        self.assertEqual(list(families), ["contact", "api_key", "user"])
        names = [one.name for one in families["contact"].sub_types]
        self.assertIn("contact.opt_out", names)
        self.assertTrue(all(one.event_type == "contact" for one in families["contact"].sub_types))

    def test_a_signed_delivery_arrives_and_a_rotation_loses_none(self):
        receiver = Receiver()
        self.addCleanup(receiver.close)
        webhook = self.made(self.test, endpoint_url=receiver.url, retry_count=1)
        old = webhook.signing_secret
        contact = self.test.contacts.create(phone_number="+14155551234").data
        created_by = self.last.headers["x-request-id"]
        headers, body = receiver.next()
        self.assertEqual(headers["x-webhook-signature"], signature(old, headers, body))
        self.assertEqual(headers["x-webhook-event-type"], "contact.created")
        event = json.loads(body)
        self.assertEqual(event["payload"]["contact_id"], contact.id)
        self.assertEqual(event["request_id"], created_by)
        new = self.test.webhooks.rotate_secret(webhook.id).data.signing_secret
        self.test.contacts.update(contact.id, opt_out=True)
        for expected in ("contact.updated", "contact.opt_out"):
            headers, body = receiver.next()
            self.assertEqual(headers["x-webhook-event-type"], expected)
            self.assertEqual(headers["x-webhook-signature"], signature(new, headers, body))
            previous = headers["x-webhook-signature-previous"]
            self.assertEqual(previous, signature(old, headers, body))
        told = self.test.webhooks.test(webhook.id, event_type="contact.opt_in").data
        self.assertEqual((told.success, told.message), (True, "Test event delivered successfully"))
        receiver.next()
        receiver.statuses.put(503)
        told = self.test.webhooks.test(webhook.id, event_type="contact.opt_in").data
        self.assertEqual((told.success, told.message), (False, "Test event was not delivered: answered 503"))
        receiver.next()
        events = self.test.webhooks.list_events(webhook.id, page_size=10).data.events
        self.assertEqual(
            [(one.event_type, one.delivery_status) for one in events],
            [
                ("contact.opt_in", "failed"),
                ("contact.opt_in", "delivered"),
                ("contact.opt_out", "delivered"),
                ("contact.updated", "delivered"),
                ("contact.created", "delivered"),
            ],
        )
        self.assertEqual(events[0].http_status_code, 503)
        self.assertEqual(self.last.got["data"]["events"][2]["event_data"], json.loads(body))

    def test_sandbox_writes_nothing(self):
        self.made(self.production, sandbox=True)
        self.production.webhooks.update(NOBODY, retry_count=2, sandbox=True)
        self.production.webhooks.toggle_status(NOBODY, is_active=False, sandbox=True)
        self.production.webhooks.rotate_secret(NOBODY, sandbox=True)
        self.production.webhooks.test(NOBODY, event_type="contact.created", sandbox=True)
        self.assertEqual(self.production.webhooks.list().data.webhooks, [])

    def test_a_retry_by_the_same_idempotency_key_shows_the_same_secret(self):
        key = f"test-{uuid.uuid4()}"
        first = self.made(self.test, idempotency_key=key)
        again = self.made(self.test, idempotency_key=key)
        self.assertEqual((again.id, again.signing_secret), (first.id, first.signing_secret))
        self.assertEqual(len(self.test.webhooks.list().data.webhooks), 1)

    def test_the_asynchronous_client_does_the_same(self):
        async def use(client):
            made = await client.webhooks.create(
                display_name="async", endpoint_url=URL, event_types=["user"]
            )
            await client.webhooks.delete(made.data.id)
            invited = await client.users.invite(
                email=f"{uuid.uuid4()}@example.com", name="A", role="billing"
            )
            await client.users.remove(invited.data.id)
            return made.data.event_types

        self.assertEqual(self.with_async_client(harness.TEST_KEY, use), ["user"])


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
