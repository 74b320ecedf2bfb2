"""The official Python client against the real server.

Started by `cargo test -p keyward --features outside --test clients`, which starts a server, issues
the keys and moves the clock; see harness.py.
"""

import time
import unittest
import uuid
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlsplit

import harness
from harness import LIMIT, WINDOW_MS, ContractTest, advance, later, moment
from sent_dm import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)

ALL_PERMISSIONS = [
    "contacts:read",
    "contacts:write",
    "users:read",
    "users:write",
    "webhooks:read",
    "webhooks:write",
    "webhooks:rotate_secret",
]

DUPLICATE = "Contact with this phone number already exists for this customer"

US = "+14155551234"
GB = "+442079460123"
DE = "+4930123456"


def us_contact(created, **changes):
    """The contact of the number US, whole, with the id and the time that the server gave it."""
    return {
        "id": created["id"],
        "customer_id": harness.ACCOUNT_ID,
        "phone_number": US,
        "format_e164": "+14155551234",
        "format_international": "+1 415-555-1234",
        "format_national": "(415) 555-1234",
        "format_rfc": "tel:+1-415-555-1234",
        "country_code": "1",
        "region_code": "US",
        "available_channels": "sms",
        "default_channel": "sms",
        "opt_out": False,
        "is_inherited": False,
        "created_at": created["created_at"],
        "updated_at": None,
        **changes,
    }


def pagination(page, page_size, total_count, total_pages, has_more):
    return {
        "page": page,
        "page_size": page_size,
        "total_count": total_count,
        "total_pages": total_pages,
        "has_more": has_more,
        "cursors": None,
    }


def nobody():
    """An identifier that was never given out."""
    return str(uuid.uuid4())


class Me(ContractTest):
    def data(self, client):
        response = client.me.with_raw_response.retrieve()
        self.assertEqual(response.status_code, 200)
        return response.json()["data"]

    def test_it_shows_the_account_and_the_key_whole(self):
        data = self.data(self.production)
        now = moment(self.last.got["meta"]["timestamp"])
        self.assertEqual(
            data,
            {
                "id": harness.ACCOUNT_ID,
                "type": "organization",
                "name": harness.ACCOUNT_NAME,
                "email": data["email"],
                "icon": None,
                "description": None,
                "created_at": data["created_at"],
                "organization_id": None,
                "short_name": None,
                "status": None,
                "settings": None,
                "profiles": [],
                "channels": {
                    "sms": {"configured": False},
                    "whatsapp": {"configured": False},
                    "rcs": {"configured": False},
                },
                "sending_phone_number": None,
                "sending_phone_number_profile_id": None,
                "enable_template_auto_creation_for_sp": False,
                "api_key": {
                    "id": str(uuid.UUID(data["api_key"]["id"])),
                    "name": data["api_key"]["name"],
                    "environment": "production",
                    "permissions": ALL_PERMISSIONS,
                    "created_at": data["api_key"]["created_at"],
                    "expires_at": data["api_key"]["expires_at"],
                },
            },
        )
        self.assertRegex(data["email"], r"\A[^@\s]+@[^@\s]+\Z")
        key = data["api_key"]
        self.assertRegex(key["name"], r"\S")
        self.assertLessEqual(moment(data["created_at"]), moment(key["created_at"]))
        self.assertLess(moment(key["created_at"]), now)
        if key["expires_at"] is not None:
            self.assertGreater(moment(key["expires_at"]), now)

    def test_the_client_reads_it_into_its_model(self):
        me = self.production.me.retrieve()
        self.assertIs(me.success, True)
        self.assertIsNone(me.error)
        self.assertEqual(me.meta.version, "v3")
        self.assertEqual(me.data.id, harness.ACCOUNT_ID)
        self.assertEqual(me.data.type, "organization")
        self.assertEqual(me.data.name, harness.ACCOUNT_NAME)
        self.assertEqual(me.data.profiles, [])
        self.assertEqual(me.data.created_at.tzinfo, timezone.utc)
        for channel in (me.data.channels.sms, me.data.channels.whatsapp, me.data.channels.rcs):
            self.assertIs(channel.configured, False)
            self.assertIsNone(channel.phone_number)

    def test_it_tells_the_environment_of_the_key(self):
        production, test = self.data(self.production), self.data(self.test)
        self.assertEqual(production["api_key"]["environment"], "production")
        self.assertEqual(test["api_key"]["environment"], "test")
        self.assertNotEqual(production["api_key"]["id"], test["api_key"]["id"])
        production.pop("api_key")
        test.pop("api_key")
        self.assertEqual(production, test, "the account is the same")

    def test_it_tells_what_the_key_may_do(self):
        key = self.data(self.read_only)["api_key"]
        self.assertEqual(key["environment"], "production")
        self.assertIn("contacts:read", key["permissions"])
        self.assertNotIn("contacts:write", key["permissions"])

    def test_another_account_is_another_one(self):
        self.assertNotEqual(self.data(self.other)["id"], harness.ACCOUNT_ID)

    def test_a_key_is_accepted_in_capitals_too(self):
        data = self.data(self.client(harness.KEY.upper()))
        self.assertEqual(data, self.data(self.production))


class Contacts(ContractTest):
    def test_a_contact_is_created_whole(self):
        response = self.production.contacts.with_raw_response.create(phone_number=US)
        self.assertEqual(response.status_code, 201)
        data = response.json()["data"]
        self.assertEqual(data, us_contact(data))
        self.assertEqual(str(uuid.UUID(data["id"])), data["id"])
        self.assertEqual(data["created_at"], response.json()["meta"]["timestamp"])

        contact = response.parse().data
        self.assertEqual(contact.id, data["id"])
        self.assertEqual(contact.format_national, "(415) 555-1234")
        self.assertEqual(contact.created_at.timestamp(), moment(data["created_at"]))
        self.assertIsNone(contact.updated_at)

    def test_a_number_is_kept_as_given_and_formatted(self):
        data = self.create(self.production, "+1 (415) 555-1234")
        self.assertEqual(data, us_contact(data, phone_number="+1 (415) 555-1234"))

    def test_numbers_of_other_countries_have_their_own_formats(self):
        data = self.create(self.production, GB)
        expected = us_contact(
            data,
            phone_number=GB,
            format_e164=GB,
            format_international="+44 20 7946 0123",
            format_national="020 7946 0123",
            format_rfc="tel:+44-20-7946-0123",
            country_code="44",
            region_code="GB",
        )
        self.assertEqual(data, expected)

    def test_a_contact_is_retrieved_as_it_was_created(self):
        created = self.create(self.production, US)
        advance(5000)
        self.assertEqual(self.stored(self.production, created["id"]), created)
        self.assertEqual(self.listed(self.production)["contacts"], [created])
        self.assertEqual(self.stored(self.read_only, created["id"]), created)

    def test_a_default_channel_is_set_and_becomes_available(self):
        created = self.create(self.production, US)
        advance(5000)
        response = self.production.contacts.with_raw_response.update(
            created["id"], default_channel="whatsapp"
        )
        self.assertEqual(response.status_code, 200)
        expected = us_contact(
            created,
            default_channel="whatsapp",
            available_channels="sms,whatsapp",
            updated_at=later(created["created_at"], 5),
        )
        self.assertEqual(response.json()["data"], expected)
        self.assertEqual(self.stored(self.production, created["id"]), expected)

        advance(5000)
        self.production.contacts.update(created["id"], default_channel="sms")
        expected["default_channel"] = "sms"
        expected["updated_at"] = later(created["created_at"], 10)
        self.assertEqual(self.stored(self.production, created["id"]), expected)

    def test_a_contact_opts_out_and_in_again(self):
        created = self.create(self.production, US)
        for seconds, opt_out in ((5, True), (10, False)):
            advance(5000)
            contact = self.production.contacts.update(created["id"], opt_out=opt_out).data
            self.assertIs(contact.opt_out, opt_out)
            at = later(created["created_at"], seconds)
            expected = us_contact(created, opt_out=opt_out, updated_at=at)
            self.assertEqual(self.stored(self.production, created["id"]), expected)

    def test_an_update_leaves_what_it_does_not_name(self):
        contact = self.create(self.production, US)
        changed = {"default_channel": "whatsapp", "opt_out": True}
        self.production.contacts.update(contact["id"], **changed)
        for arguments in ({}, {"default_channel": None, "opt_out": None}):
            with self.subTest(arguments=arguments):
                self.production.contacts.update(contact["id"], **arguments)
                stored = self.stored(self.production, contact["id"])
                self.assertEqual({name: stored[name] for name in changed}, changed)

    def test_a_deleted_contact_is_gone_and_its_number_free(self):
        created = self.create(self.production, US)
        kept = self.create(self.production, GB)
        self.assertIsNone(self.production.contacts.delete(created["id"]))
        self.assertEqual(self.last.status, 204)
        self.assert_contact_not_found(self.production, created["id"])
        self.assertEqual(self.listed(self.production)["contacts"], [kept])

        again = self.create(self.production, US)
        self.assertNotEqual(again["id"], created["id"])

    def test_the_message_summary_is_zeros(self):
        created = self.create(self.production, US)
        contacts = self.production.contacts
        response = contacts.with_raw_response.retrieve_message_summary(created["id"])
        self.assertEqual(response.status_code, 200)
        expected = {
            "contact_id": created["id"],
            "message_count": 0,
            "first_message_at": None,
            "last_message_at": None,
            "channels_used": [],
            "channel_scores": [],
        }
        self.assertEqual(response.json()["data"], expected)
        self.assertEqual(response.parse().data.message_count, 0)


class Pages(ContractTest):
    def create_55(self):
        """Fifty-five contacts, a second apart, oldest first."""
        ids = []
        for number in range(55):
            ids.append(self.create(self.production, f"+141555501{number:02}")["id"])
            advance(1000)
        self.exchanges.clear()
        return ids

    def requested_pages(self):
        queries = [parse_qs(urlsplit(exchange.target).query) for exchange in self.exchanges]
        return [query.get("page", ["none"])[0] for query in queries]

    def test_the_client_pages_through_55_contacts_newest_first(self):
        newest_first = self.create_55()[::-1]

        found = [contact.id for contact in self.production.contacts.list()]
        self.assertEqual(found, newest_first)
        self.assertEqual(self.requested_pages(), ["none", "2", "3"], "20 to a page, no page more")

        self.exchanges.clear()
        found = [contact.id for contact in self.production.contacts.list(page_size=11)]
        self.assertEqual(found, newest_first)
        self.assertEqual(self.requested_pages(), ["none", "2", "3", "4", "5"])

        self.exchanges.clear()
        found = [contact.id for contact in self.production.contacts.list(page=2, page_size=30)]
        self.assertEqual(found, newest_first[30:])
        self.assertEqual(self.requested_pages(), ["2"])

        found = [contact.id for contact in self.production.contacts.list(page_size=100)]
        self.assertEqual(found, newest_first)

    def test_each_page_says_where_it_stands(self):
        newest_first = self.create_55()[::-1]
        page = self.production.contacts.list()
        for number, has_more in ((1, True), (2, True), (3, False)):
            data = self.last.got["data"]
            self.assertEqual(list(data), ["contacts", "pagination"])
            self.assertEqual(data["pagination"], pagination(number, 20, 55, 3, has_more))
            ids = [contact["id"] for contact in data["contacts"]]
            self.assertEqual(ids, newest_first[20 * (number - 1) : 20 * number])
            self.assertEqual(page.has_next_page(), has_more)
            if has_more:
                page = page.get_next_page()

    def test_a_page_past_the_end_is_empty(self):
        self.create(self.production, US)
        page = self.production.contacts.list(page=3, page_size=10)
        expected = {"contacts": [], "pagination": pagination(3, 10, 1, 1, False)}
        self.assertEqual(self.last.got["data"], expected)
        self.assertEqual(list(page), [])
        self.assertFalse(page.has_next_page())

    def test_an_empty_account_has_no_pages(self):
        self.assertEqual(list(self.production.contacts.list()), [])
        expected = {"contacts": [], "pagination": pagination(1, 20, 0, 0, False)}
        self.assertEqual(self.last.got["data"], expected)

    def test_contacts_of_one_moment_are_listed_once_each_in_a_stable_order(self):
        numbers = [f"+141555502{number:02}" for number in range(25)]
        ids = [self.create(self.production, number)["id"] for number in numbers]
        found = [contact.id for contact in self.production.contacts.list(page_size=10)]
        self.assertEqual(sorted(found), sorted(ids))
        again = [contact.id for contact in self.production.contacts.list(page_size=4)]
        self.assertEqual(again, found)

    def test_the_asynchronous_client_pages_too(self):
        ids = []
        for number in (US, GB, DE):
            ids.append(self.create(self.production, number)["id"])
            advance(1000)

        async def use(client):
            me = await client.me.retrieve()
            self.assertEqual(me.data.id, harness.ACCOUNT_ID)
            return [contact.id async for contact in client.contacts.list(page_size=2)]

        self.assertEqual(self.with_async_client(harness.KEY, use), ids[::-1])


class Filters(ContractTest):
    def setUp(self):
        super().setUp()
        self.us = self.create(self.production, US)
        advance(1000)
        self.gb = self.create(self.production, GB)

    def assert_found(self, contacts, **filters):
        data = self.listed(self.production, **filters)
        self.assertEqual([c["id"] for c in data["contacts"]], [c["id"] for c in contacts])
        pages = 1 if contacts else 0
        self.assertEqual(data["pagination"], pagination(1, 20, len(contacts), pages, False))

    def test_search_finds_any_part_of_a_number(self):
        for search, contacts in (
            ("415", [self.us]),
            ("5551234", [self.us]),
            ("555-1234", [self.us]),
            ("(415) 555", [self.us]),
            ("+1415555", [self.us]),
            ("7946", [self.gb]),
            ("20 7946", [self.gb]),
            ("+44", [self.gb]),
            ("123", [self.gb, self.us]),
            ("8888", []),
            ("%", []),
            ("_", []),
        ):
            with self.subTest(search=search):
                self.assert_found(contacts, search=search)

    def test_channel_finds_contacts_that_can_be_reached_by_it(self):
        self.assert_found([], channel="whatsapp")
        self.production.contacts.update(self.us["id"], default_channel="whatsapp")
        self.assert_found([self.us], channel="whatsapp")
        self.assert_found([self.gb, self.us], channel="sms")
        self.assert_found([], channel="whatsapp", search="7946")

    def test_phone_finds_the_one_contact(self):
        self.assert_found([self.us], phone=US)
        self.assertIn("phone=%2B14155551234", self.last.target)
        self.assert_found([self.gb], phone="+44 20 7946-0123")

    def test_a_phone_that_no_contact_has_is_not_found(self):
        error = self.refused_phone(self.production)
        self.assertEqual(error.status_code, 404)

    def test_a_phone_of_other_data_is_not_found(self):
        self.create(self.test, DE)
        self.create(self.other, DE)
        self.refused_phone(self.production)

    def refused_phone(self, client):
        with self.assertRaises(NotFoundError) as caught:
            client.contacts.list(phone=DE)
        error = caught.exception
        self.assertEqual(error.body["error"]["code"], "RESOURCE_001")
        self.assertRegex(error.body["error"]["message"], r"\AContact not found")
        return error


class WrongRequests(ContractTest):
    """400, 403, 404 and 409: never tried again, and never of any effect."""

    def tearDown(self):
        for exchange in self.exchanges:
            self.assertEqual(exchange.retry, 0)
        super().tearDown()

    def assert_nothing_is_stored(self):
        self.assertEqual(self.listed(self.production)["contacts"], [])

    def test_a_number_must_be_in_international_form(self):
        for number in ("4155551234", "+0155551234", "+1415555CALL", "+1", "+1234567890123456"):
            with self.subTest(number=number):
                error = self.refused(
                    BadRequestError,
                    self.production.contacts.create,
                    phone_number=number,
                    code="VALIDATION_002",
                    message="Invalid phone number format",
                    fields=["phone_number"],
                )
                sentences = error.body["error"]["details"]["phone_number"]
                self.assertRegex(" ".join(sentences), r"\+[1-9][0-9]{6,14}", "it has an example")
        self.assert_nothing_is_stored()

    def test_faults_of_the_body_are_told_field_by_field(self):
        contact = self.create(self.production, US)
        create, update = self.production.contacts.create, self.production.contacts.update
        for call, arguments, named, fields in (
            (create, [], {"phone_number": ""}, ["phone_number"]),
            (create, [], {"phone_number": None}, ["phone_number"]),
            (create, [], {"phone_number": 14155551234}, ["phone_number"]),
            (create, [], {"phone_number": GB, "sandbox": "yes"}, ["sandbox"]),
            (create, [], {"phone_number": None, "sandbox": 1}, ["phone_number", "sandbox"]),
            (update, [contact["id"]], {"default_channel": "fax"}, ["default_channel"]),
            (update, [contact["id"]], {"default_channel": "SMS"}, ["default_channel"]),
            (update, [contact["id"]], {"opt_out": "true"}, ["opt_out"]),
        ):
            with self.subTest(named=named):
                self.refused(
                    BadRequestError,
                    call,
                    *arguments,
                    code="VALIDATION_001",
                    message="Request validation failed",
                    fields=fields,
                    **named,
                )
        self.assertEqual(self.listed(self.production)["contacts"], [contact])

    def test_an_identifier_must_be_a_uuid(self):
        contacts = self.production.contacts
        for call in (
            contacts.retrieve,
            contacts.update,
            contacts.delete,
            contacts.retrieve_message_summary,
        ):
            # The client encodes the slash, so it is part of the identifier.
            for wrong in ("123", nobody()[:-1], "{" + nobody() + "}", "a/b c"):
                with self.subTest(call=call.__name__, wrong=wrong):
                    self.refused(
                        BadRequestError,
                        call,
                        wrong,
                        code="VALIDATION_003",
                        message="Invalid GUID format",
                        fields=None,
                    )

    def test_pages_have_bounds(self):
        for query in ({"page": 0}, {"page": -1}, {"page_size": 0}, {"page_size": 101}):
            with self.subTest(query=query):
                self.refused(
                    BadRequestError,
                    self.production.contacts.list,
                    code="VALIDATION_005",
                    message="Field value out of valid range",
                    fields=None,
                    **query,
                )

    def test_a_page_must_be_a_number(self):
        self.refused(
            BadRequestError,
            self.production.contacts.list,
            extra_query={"page": "two"},
            code="VALIDATION_001",
            message="Request validation failed",
            fields=["page"],
        )

    def test_a_channel_must_be_a_known_one(self):
        for channel in ("fax", "SMS"):
            with self.subTest(channel=channel):
                self.refused(
                    BadRequestError,
                    self.production.contacts.list,
                    channel=channel,
                    code="VALIDATION_006",
                    message="Invalid enum value",
                    fields=None,
                )

    def test_a_profile_must_be_one_of_the_organization(self):
        self.refused(
            BadRequestError,
            self.production.contacts.list,
            x_profile_id="profile",
            code="VALIDATION_003",
            message="Invalid GUID format",
            fields=None,
        )
        self.refused(
            NotFoundError,
            self.production.contacts.list,
            x_profile_id=nobody(),
            code="RESOURCE_004",
            message="Customer not found",
        )

    def test_an_unknown_contact_is_not_found(self):
        self.assert_contact_not_found(self.production, nobody())

    def test_another_accounts_contact_is_not_found(self):
        contact = self.create(self.production, US)
        self.assert_contact_not_found(self.other, contact["id"])
        self.assertEqual(self.stored(self.production, contact["id"]), contact)

    def test_a_key_without_the_permission_is_refused(self):
        contact = self.create(self.production, US)
        contacts = self.read_only.contacts
        for call, arguments, named in (
            (contacts.create, [], {"phone_number": GB}),
            (contacts.create, [], {"phone_number": GB, "sandbox": True}),
            (contacts.create, [], {"phone_number": "not a number"}),
            (contacts.update, [contact["id"]], {"opt_out": True}),
            (contacts.delete, [contact["id"]], {}),
            (contacts.delete, [nobody()], {}),
        ):
            with self.subTest(call=call.__name__, named=named):
                self.refused(
                    PermissionDeniedError,
                    call,
                    *arguments,
                    code="AUTH_004",
                    message="Insufficient permissions for this operation",
                    **named,
                )
        self.assertEqual(self.listed(self.read_only)["contacts"], [contact])

    def test_a_number_that_is_there_already_is_a_conflict_and_not_tried_again(self):
        contact = self.create(self.production, US)
        self.exchanges.clear()
        for number in (US, "+1 (415) 555-1234"):
            with self.subTest(number=number):
                error = self.refused(
                    ConflictError,
                    self.production.contacts.create,
                    phone_number=number,
                    code="RESOURCE_007",
                    message=DUPLICATE,
                )
                self.assertEqual(error.response.headers["x-should-retry"], "false")
        self.assertEqual(self.production.max_retries, 2, "it may try again, and would")
        self.assertEqual([exchange.status for exchange in self.exchanges], [409, 409])
        self.assertEqual(self.listed(self.production)["contacts"], [contact])


class Keys(ContractTest):
    def assert_key_refused(self, key):
        client = self.client(key)
        for call in (client.me.retrieve, client.contacts.list):
            self.refused(
                AuthenticationError,
                call,
                code="AUTH_002",
                message="Invalid or expired API key",
            )

    def test_a_key_that_is_not_good_is_refused_in_one_and_the_same_way(self):
        key = harness.KEY
        for what, wrong in (
            ("unknown", nobody()),
            ("revoked", harness.REVOKED_KEY),
            ("expired", harness.EXPIRED_KEY),
            ("cut short", key[:-1]),
            ("too long", key + "0"),
            ("without hyphens", key.replace("-", "")),
            ("in braces", "{" + key + "}"),
            ("as a URN", "urn:uuid:" + key),
            ("a word", "secret"),
        ):
            with self.subTest(what=what):
                self.assert_key_refused(wrong)
        self.assertEqual({exchange.retry for exchange in self.exchanges}, {0})

    def test_a_blank_key_is_none_at_all(self):
        self.refused(
            AuthenticationError,
            self.client("").me.retrieve,
            code="AUTH_001",
            message="User is not authenticated",
        )

    def test_a_refused_key_spends_nothing_of_its_account(self):
        self.production.me.retrieve()
        self.assertEqual(self.last.remaining, LIMIT - 1)
        self.assert_key_refused(harness.REVOKED_KEY)
        self.assert_key_refused(harness.EXPIRED_KEY)
        self.production.me.retrieve()
        self.assertEqual(self.last.remaining, LIMIT - 2)

    def test_guessing_is_limited_by_address_and_a_good_key_is_not_held_back_by_it(self):
        client = self.client(nobody(), max_retries=0)
        for _ in range(60):
            with self.assertRaises(AuthenticationError):
                client.me.retrieve()
        error = self.refused(
            RateLimitError,
            self.client(nobody(), max_retries=0).me.retrieve,
            code="BUSINESS_002",
            message="Rate limit exceeded",
        )
        headers = error.response.headers
        self.assertEqual(headers["retry-after"], "60")
        self.assertEqual(headers["x-ratelimit-limit"], "60")
        self.assertEqual(headers["x-ratelimit-remaining"], "0")

        self.production.me.retrieve()
        self.assertEqual(self.last.remaining, LIMIT - 1)

        advance(WINDOW_MS)
        with self.assertRaises(AuthenticationError):
            client.me.retrieve()


class RateLimit(ContractTest):
    def assert_limited(self, client, retry_after):
        error = self.refused(
            RateLimitError,
            client.with_options(max_retries=0).me.retrieve,
            code="BUSINESS_002",
            message="Rate limit exceeded",
        )
        headers = error.response.headers
        self.assertEqual(headers["retry-after"], str(retry_after))
        self.assertEqual(headers["x-ratelimit-limit"], str(LIMIT))
        self.assertEqual(headers["x-ratelimit-remaining"], "0")
        return int(headers["x-ratelimit-reset"])

    def test_every_request_of_a_good_key_takes_exactly_one(self):
        contact = self.create(self.production, US)
        contacts = self.production.contacts
        self.production.me.retrieve()
        contacts.list()
        contacts.update(contact["id"], opt_out=True)
        contacts.create(phone_number=GB, sandbox=True)
        self.assertRaises(NotFoundError, contacts.retrieve, nobody())
        self.assertRaises(BadRequestError, contacts.list, page=0)
        self.assertRaises(PermissionDeniedError, self.read_only.contacts.create, phone_number=GB)
        self.assertRaises(ConflictError, contacts.create, phone_number=US)
        contacts.delete(contact["id"])
        self.assertEqual(
            [exchange.status for exchange in self.exchanges],
            [201, 200, 200, 200, 201, 404, 400, 403, 409, 204],
        )
        left = [exchange.remaining for exchange in self.exchanges]
        self.assertEqual(left, list(range(LIMIT - 1, LIMIT - 11, -1)))
        limits = {exchange.headers["x-ratelimit-limit"] for exchange in self.exchanges}
        self.assertEqual(limits, {str(LIMIT)})

    def test_200_pass_and_the_next_is_told_the_truth_about_when_to_come_back(self):
        self.use_up_the_window(self.production)
        left = [exchange.remaining for exchange in self.exchanges]
        self.assertEqual(left, list(range(LIMIT - 1, -1, -1)))

        resets = {exchange.headers["x-ratelimit-reset"] for exchange in self.exchanges}
        self.assertEqual(len(resets), 1, "the window stands still, so its end does")
        reset = self.assert_limited(self.production, retry_after=60)
        self.assertEqual({str(reset)}, resets)
        self.assertIn(reset - moment(self.last.got["meta"]["timestamp"]), (60, 61))

        advance(25_000)
        self.assertEqual(self.assert_limited(self.production, retry_after=35), reset)
        advance(34_999)
        self.assertEqual(self.assert_limited(self.production, retry_after=1), reset)
        advance(1)
        self.production.me.retrieve()
        self.assertEqual(self.last.remaining, LIMIT - 1)

    def test_the_pool_belongs_to_account_and_environment(self):
        self.use_up_the_window(self.production)
        self.assert_limited(self.production, retry_after=60)
        self.assert_limited(self.read_only, retry_after=60)
        self.test.me.retrieve()
        self.assertEqual(self.last.remaining, LIMIT - 1)
        self.other.me.retrieve()
        self.assertEqual(self.last.remaining, LIMIT - 1)

    def test_the_client_waits_as_told_and_tries_again(self):
        def let_the_window_pass(exchange):
            if exchange.status == 429:
                advance(1000)

        client = self.client(harness.KEY, max_retries=2, on_response=let_the_window_pass)
        self.use_up_the_window(self.production)
        advance(WINDOW_MS - 500)
        self.exchanges.clear()

        started = time.monotonic()
        response = client.contacts.with_raw_response.create(phone_number=US)
        waited = time.monotonic() - started

        self.assertEqual(response.status_code, 201)
        self.assertEqual(response.retries_taken, 1)
        refused, admitted = self.exchanges
        self.assertEqual((refused.status, refused.retry), (429, 0))
        self.assertEqual(refused.headers["retry-after"], "1")
        self.assertEqual((admitted.status, admitted.retry), (201, 1))
        self.assertEqual(admitted.remaining, LIMIT - 1)
        self.assertEqual(refused.sent, admitted.sent)
        self.assertGreaterEqual(waited, 1.0)
        self.assertLess(waited, 10.0)

        created = response.json()["data"]
        self.assertEqual(self.listed(self.production)["contacts"], [created], "made only once")


class Sandbox(ContractTest):
    """`check` looks at X-Sandbox on every answer, with `sandbox=True` and without."""

    def test_a_sandbox_contact_looks_real_and_is_not_stored(self):
        response = self.production.contacts.with_raw_response.create(phone_number=US, sandbox=True)
        self.assertEqual(response.status_code, 201)
        self.assertEqual(response.headers["x-sandbox"], "true")
        data = response.json()["data"]
        self.assertEqual(data, us_contact(data))
        self.assertEqual(self.listed(self.production)["contacts"], [])
        self.assert_contact_not_found(self.production, data["id"])

    def test_a_sandbox_contact_meets_no_stored_one(self):
        contact = self.create(self.production, US)
        response = self.production.contacts.with_raw_response.create(phone_number=US, sandbox=True)
        self.assertEqual(response.status_code, 201)
        self.assertNotEqual(response.json()["data"]["id"], contact["id"])
        self.assertEqual(self.listed(self.production)["contacts"], [contact])

    def test_a_sandbox_update_changes_nothing(self):
        contact = self.create(self.production, US)
        update = self.production.contacts.with_raw_response.update
        for contact_id in (contact["id"], nobody()):
            with self.subTest(is_stored=contact_id == contact["id"]):
                response = update(
                    contact_id, default_channel="whatsapp", opt_out=True, sandbox=True
                )
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response.headers["x-sandbox"], "true")
                data = response.json()["data"]
                self.assertEqual(set(data), set(contact), "the fields of a contact")
                self.assertEqual(data["id"], contact_id)
                self.assertEqual(data["customer_id"], harness.ACCOUNT_ID)
                self.assertEqual(data["default_channel"], "whatsapp")
                self.assertEqual(data["available_channels"], "sms,whatsapp")
                self.assertIs(data["opt_out"], True)
        self.assertEqual(self.listed(self.production)["contacts"], [contact])

    def test_a_sandbox_delete_deletes_nothing(self):
        contact = self.create(self.production, US)
        for contact_id in (contact["id"], nobody()):
            with self.subTest(is_stored=contact_id == contact["id"]):
                delete = self.production.contacts.with_raw_response.delete
                response = delete(contact_id, sandbox=True)
                self.assertEqual(response.status_code, 204)
                self.assertEqual(response.headers["x-sandbox"], "true")
        self.assertEqual(self.stored(self.production, contact["id"]), contact)

    def test_sandbox_false_is_for_real(self):
        contact = self.create(self.production, US, sandbox=False)
        self.assertEqual(self.stored(self.production, contact["id"]), contact)
        self.production.contacts.update(contact["id"], opt_out=True, sandbox=False)
        self.assertIs(self.stored(self.production, contact["id"])["opt_out"], True)
        self.production.contacts.delete(contact["id"], sandbox=False)
        self.assertEqual(self.listed(self.production)["contacts"], [])

    def test_a_sandbox_request_is_checked_for_real(self):
        self.refused(
            BadRequestError,
            self.production.contacts.create,
            phone_number="4155551234",
            sandbox=True,
            code="VALIDATION_002",
            message="Invalid phone number format",
            fields=["phone_number"],
        )
        self.refused(
            BadRequestError,
            self.production.contacts.update,
            nobody(),
            default_channel="fax",
            sandbox=True,
            code="VALIDATION_001",
            message="Request validation failed",
            fields=["default_channel"],
        )
        self.refused(
            BadRequestError,
            self.production.contacts.delete,
            "123",
            sandbox=True,
            code="VALIDATION_003",
            message="Invalid GUID format",
            fields=None,
        )


class IdempotencyKey(ContractTest):
    def test_it_is_accepted_on_every_change(self):
        key = {"idempotency_key": f"Test_{nobody()}"}
        contact = self.create(self.production, US, **key)
        self.assertEqual(self.last.request_headers["idempotency-key"], key["idempotency_key"])
        self.assertEqual(self.stored(self.production, contact["id"]), contact)

        key = {"idempotency_key": "x" * 255}
        updated = self.production.contacts.update(contact["id"], opt_out=True, **key)
        self.assertIs(updated.data.opt_out, True)

        # The client has no argument for it here.
        header = {"Idempotency-Key": nobody()}
        self.production.contacts.delete(contact["id"], extra_headers=header)
        self.assertEqual(self.last.status, 204)
        self.assertEqual(self.listed(self.production)["contacts"], [])

    def test_its_form_is_checked(self):
        contact = self.create(self.production, US)
        for key in ("not allowed!", "x" * 256, "a/b"):
            for call, arguments, named in (
                (self.production.contacts.create, [], {"phone_number": GB}),
                (self.production.contacts.update, [contact["id"]], {"opt_out": True}),
            ):
                with self.subTest(key=key, call=call.__name__):
                    self.refused(
                        BadRequestError,
                        call,
                        *arguments,
                        idempotency_key=key,
                        code="VALIDATION_007",
                        message="Invalid Idempotency-Key format",
                        fields=None,
                        **named,
                    )
        self.assertEqual(self.listed(self.production)["contacts"], [contact])


class Environments(ContractTest):
    def test_test_and_production_data_are_apart(self):
        production = self.create(self.production, US)
        test = self.create(self.test, US)
        self.assertNotEqual(production["id"], test["id"])
        self.assertEqual(production["customer_id"], test["customer_id"])

        self.assertEqual(self.listed(self.production)["contacts"], [production])
        self.assertEqual(self.listed(self.test)["contacts"], [test])
        self.assert_contact_not_found(self.test, production["id"])
        self.assert_contact_not_found(self.production, test["id"])

        self.test.contacts.delete(test["id"])
        self.assertEqual(self.listed(self.test)["contacts"], [])
        self.assertEqual(self.listed(self.production)["contacts"], [production])

    def test_accounts_are_apart(self):
        ours = self.create(self.production, US)
        theirs = self.create(self.other, US)
        self.assertEqual(ours["customer_id"], harness.ACCOUNT_ID)
        self.assertNotEqual(theirs["customer_id"], harness.ACCOUNT_ID)
        self.assertEqual(self.listed(self.production)["contacts"], [ours])
        self.assertEqual(self.listed(self.other)["contacts"], [theirs])
        self.assert_contact_not_found(self.production, theirs["id"])


class Headers(ContractTest):
    """`check` looks at the headers of every answer of every test; here is what it cannot see."""

    def test_the_client_has_the_request_id_of_body_and_header(self):
        response = self.production.me.with_raw_response.retrieve()
        self.assertEqual(response.parse().meta.request_id, response.headers["x-request-id"])
        self.assertEqual(response.headers["x-api-version"], "v3")

    def test_the_timestamp_is_the_servers_time(self):
        first = self.production.me.retrieve().meta.timestamp
        second = self.production.me.retrieve().meta.timestamp
        advance(7000)
        third = self.production.me.retrieve().meta.timestamp
        self.assertIsInstance(first, datetime)
        self.assertEqual(first, second)
        self.assertEqual((third - first).total_seconds(), 7)


if __name__ == "__main__":
    # The client warns at every `delete`: its authors would rather see contacts opted out.
    unittest.main(verbosity=2, warnings="ignore")
