// The official TypeScript client on me and contacts, against the real server.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import {
  ACCOUNT_ID, KEY, LIMIT, Sent, WINDOW_MS, advance, client, exchanges, other, production, readOnly, refused, runAll,
  setting, test,
} from './harness.mjs';

const US = '+14155551234';
const GB = '+442079460123';

const listed = async (from, filters = {}) =>
  (await from.contacts.list({ page: 1, page_size: 100, ...filters })).data;

const tests = {
  async me_tells_whose_key_it_is() {
    const { data, success, error, meta } = await production.me.retrieve();
    assert.deepEqual([success, error, meta.version], [true, null, 'v3']);
    assert.equal(data.id, ACCOUNT_ID);
    assert.equal(data.name, setting('KEYWARD_ACCOUNT_NAME'));
    assert.equal(data.type, 'organization');
    assert.deepEqual(data.profiles, []);
    for (const name of ['description', 'icon', 'organization_id', 'settings', 'short_name', 'status']) {
      assert.equal(data[name], null, name);
    }
    assert.equal(data.channels.whatsapp.configured, false);
    assert.equal(data.api_key.environment, 'production');
    assert.equal((await test.me.retrieve()).data.api_key.environment, 'test');
    assert.notEqual((await other.me.retrieve()).data.id, ACCOUNT_ID);
  },

  async a_contact_lives_from_create_to_delete() {
    const created = (await production.contacts.create({ phone_number: '+1 (415) 555-1234' })).data;
    assert.equal(exchanges.at(-1).status, 201);
    assert.deepEqual(created, {
      id: created.id,
      customer_id: ACCOUNT_ID,
      phone_number: '+1 (415) 555-1234',
      format_e164: US,
      format_international: '+1 415-555-1234',
      format_national: '(415) 555-1234',
      format_rfc: 'tel:+1-415-555-1234',
      country_code: '1',
      region_code: 'US',
      available_channels: 'sms',
      default_channel: 'sms',
      opt_out: false,
      is_inherited: false,
      created_at: created.created_at,
      updated_at: null,
    });
    assert.deepEqual((await readOnly.contacts.retrieve(created.id)).data, created);
    await advance(5000);
    const change = { default_channel: 'whatsapp', opt_out: true };
    const updated = (await production.contacts.update(created.id, change)).data;
    assert.equal(Date.parse(updated.updated_at), Date.parse(created.created_at) + 5000);
    assert.deepEqual(updated, {
      ...created,
      ...change,
      available_channels: 'sms,whatsapp',
      updated_at: updated.updated_at,
    });
    assert.deepEqual((await production.contacts.retrieve(created.id)).data, updated);
    await production.contacts.delete(created.id, {});
    assert.equal(exchanges.at(-1).status, 204);
    const gone = { status: 404, code: 'RESOURCE_001' };
    await refused(Sent.NotFoundError, production.contacts.retrieve(created.id), gone);
    await refused(Sent.NotFoundError, production.contacts.delete(created.id, {}), gone);
  },

  async lists_come_in_pages_and_can_be_searched() {
    const made = [];
    for (let n = 0; n < 25; n += 1) {
      const number = `+141555501${String(n).padStart(2, '0')}`;
      made.unshift((await production.contacts.create({ phone_number: number })).data.id);
      await advance(1000);
    }
    const first = (await production.contacts.list({ page: 1, page_size: 10 })).data;
    const pagination = { page_size: 10, total_count: 25, total_pages: 3, cursors: null };
    assert.deepEqual(first.pagination, { page: 1, has_more: true, ...pagination });
    assert.deepEqual(first.contacts.map(({ id }) => id), made.slice(0, 10));
    const last = (await production.contacts.list({ page: 3, page_size: 10 })).data;
    assert.deepEqual(last.pagination, { page: 3, has_more: false, ...pagination });
    assert.deepEqual(last.contacts.map(({ id }) => id), made.slice(20));
    assert.deepEqual((await production.contacts.list({ page: 4, page_size: 10 })).data.contacts, []);
    assert.equal((await listed(production, { search: '5550107' })).contacts.length, 1);
    assert.equal((await listed(production, { phone: '+14155550107' })).contacts.length, 1);
    assert.equal((await listed(production, { channel: 'whatsapp' })).contacts.length, 0);
    assert.equal((await listed(production, { channel: null, phone: null, search: null })).contacts.length, 25);
    const invalid = (code) => ({ status: 400, code });
    const list = (page, page_size, more) => production.contacts.list({ page, page_size, ...more });
    await refused(Sent.BadRequestError, list(0, 10), invalid('VALIDATION_005'));
    await refused(Sent.BadRequestError, list(1, 101), invalid('VALIDATION_005'));
    await refused(Sent.BadRequestError, list(1, 10, { channel: 'fax' }), invalid('VALIDATION_006'));
  },

  async each_refusal_is_the_clients_class_for_it() {
    const { contacts } = production;
    const first = (await contacts.create({ phone_number: US })).data;
    const twin = contacts.create({ phone_number: US });
    await refused(Sent.ConflictError, twin, { status: 409, code: 'RESOURCE_007' });
    const national = contacts.create({ phone_number: '4155551234' });
    await refused(Sent.BadRequestError, national, {
      status: 400,
      code: 'VALIDATION_002',
      fields: ['phone_number'],
    });
    await refused(Sent.BadRequestError, contacts.retrieve('123'), { status: 400, code: 'VALIDATION_003' });
    await refused(Sent.NotFoundError, contacts.retrieve(randomUUID()), { status: 404, code: 'RESOURCE_001' });
    const forbidden = readOnly.contacts.create({ phone_number: GB });
    await refused(Sent.PermissionDeniedError, forbidden, { status: 403, code: 'AUTH_004' });
    const strangers = other.contacts.retrieve(first.id);
    await refused(Sent.NotFoundError, strangers, { status: 404, code: 'RESOURCE_001' });
    const apart = test.contacts.retrieve(first.id);
    await refused(Sent.NotFoundError, apart, { status: 404, code: 'RESOURCE_001' });
  },

  async a_key_that_is_not_good_is_refused_at_once_and_not_tried_again() {
    const wrong = [
      randomUUID(),
      setting('KEYWARD_REVOKED_KEY'),
      setting('KEYWARD_EXPIRED_KEY'),
      KEY.slice(1),
      'secret',
    ];
    const headers = [];
    for (const key of wrong) {
      const call = client(key, { maxRetries: 2 }).me.retrieve();
      await refused(Sent.AuthenticationError, call, { status: 401, code: 'AUTH_002' });
      headers.push([...exchanges.at(-1).headers.keys()].join());
    }
    assert.equal(exchanges.length, wrong.length, 'each was sent once');
    assert.equal(new Set(headers).size, 1, 'all get the same headers');
  },

  async what_is_sandbox_is_checked_and_not_done() {
    const { contacts } = production;
    const drafted = await contacts.create({ phone_number: US, sandbox: true });
    assert.equal(exchanges.at(-1).status, 201);
    assert.equal(exchanges.at(-1).headers.get('x-sandbox'), 'true');
    assert.equal((await listed(production)).contacts.length, 0);
    const gone = { status: 404, code: 'RESOURCE_001' };
    await refused(Sent.NotFoundError, contacts.retrieve(drafted.data.id), gone);
    const { data } = await contacts.create({ phone_number: US });
    await contacts.update(data.id, { opt_out: true, sandbox: true });
    await contacts.delete(data.id, { sandbox: true });
    assert.equal(exchanges.at(-1).headers.get('x-sandbox'), 'true');
    assert.deepEqual((await contacts.retrieve(data.id)).data, data);
    const invalid = contacts.create({ phone_number: 'x', sandbox: true });
    await refused(Sent.BadRequestError, invalid, { status: 400, code: 'VALIDATION_002' });
  },

  async the_idempotency_argument_arrives_and_its_form_is_checked() {
    const { contacts } = production;
    const key = { 'Idempotency-Key': `ts_${randomUUID()}` };
    const { data } = await contacts.create({ phone_number: US, ...key });
    assert.equal((await listed(production)).contacts.length, 1);
    const wrong = { 'Idempotency-Key': 'not allowed!' };
    const call = contacts.update(data.id, { opt_out: true, ...wrong });
    await refused(Sent.BadRequestError, call, { status: 400, code: 'VALIDATION_007' });
  },

  async the_client_waits_as_told_when_the_limit_is_reached() {
    for (let n = 1; n <= LIMIT; n += 1) {
      await production.me.retrieve();
      assert.equal(exchanges.at(-1).headers.get('x-ratelimit-remaining'), String(LIMIT - n));
    }
    const over = production.me.retrieve();
    const limited = await refused(Sent.RateLimitError, over, { status: 429, code: 'BUSINESS_002' });
    assert.equal(limited.headers.get('retry-after'), '60');
    await advance(WINDOW_MS - 1000);
    exchanges.length = 0;
    // The clock moves when the client has been told to come back in a second.
    const onAnswer = async ({ status }) => status === 429 && advance(1000);
    const patient = client(KEY, { maxRetries: 1, onAnswer });
    assert.equal((await patient.me.retrieve()).data.id, ACCOUNT_ID);
    assert.deepEqual(exchanges.map(({ status }) => status), [429, 200]);
    assert.equal(exchanges[0].headers.get('retry-after'), '1');
  },
};

await runAll(tests);
