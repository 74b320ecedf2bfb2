// The official TypeScript client on users and webhooks, against the real server. Webhooks of the test key
// may go to this machine, where a receiver of this script waits.

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import {
  ACCOUNT_ID, Sent, advance, exchanges, production, readOnly, refused, runAll, test,
} from './harness.mjs';

const usual = { display_name: 'CRM', endpoint_url: 'https://crm.example/hook', event_types: ['contact'] };
const last = () => exchanges.at(-1);

/** Keeps what it gets, and answers with 200. */
async function receiver() {
  const got = [];
  const waiting = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    response.end('ok');
    const delivery = { headers: request.headers, body };
    if (waiting.length > 0) waiting.shift()(delivery);
    else got.push(delivery);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/hook`,
    next: () => (got.length > 0 ? got.shift() : new Promise((resolve) => waiting.push(resolve))),
    close: () => server.close(),
  };
}

function signature(secret, { headers, body }) {
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  const signed = `${headers['x-webhook-id']}.${headers['x-webhook-timestamp']}.${body}`;
  return `v1,${createHmac('sha256', key).update(signed).digest('base64')}`;
}

const tests = {
  async a_member_lives_from_invite_to_remove() {
    for (const whose of [production, test]) {
      const email = `${randomUUID()}@example.com`;
      const user = (await whose.users.invite({ email, name: 'Bob', role: 'developer' })).data;
      assert.equal(last().status, 201);
      assert.deepEqual(user, {
        id: user.id,
        customer_id: ACCOUNT_ID,
        email,
        name: 'Bob',
        role: 'developer',
        status: 'invited',
        invited_at: user.created_at,
        last_login_at: null,
        created_at: user.created_at,
        updated_at: user.created_at,
      });
      assert.deepEqual((await whose.users.retrieve(user.id)).data, user);
      await advance(5000);
      const changed = (await whose.users.updateRole(user.id, { role: 'billing' })).data;
      assert.equal(Date.parse(changed.updated_at), Date.parse(user.created_at) + 5000);
      assert.deepEqual(changed, { ...user, role: 'billing', updated_at: changed.updated_at });
      const { users, pagination } = (await whose.users.list()).data;
      assert.deepEqual(users, [changed]);
      assert.equal(pagination.has_more, false);
      await whose.users.remove(user.id, {});
      assert.equal(last().status, 204);
      const gone = { status: 404, code: 'RESOURCE_006' };
      await refused(Sent.NotFoundError, whose.users.retrieve(user.id), gone);
    }
  },

  async what_is_wrong_with_users_has_its_error_class() {
    const wrong = { status: 400, code: 'VALIDATION_001', fields: ['email', 'name', 'role'] };
    await refused(Sent.BadRequestError, production.users.invite({}), wrong);
    const owner = { email: 'a@example.com', name: 'A', role: 'owner' };
    const role = { status: 400, code: 'VALIDATION_001', fields: ['role'] };
    await refused(Sent.BadRequestError, production.users.invite(owner), role);
    const forbidden = { status: 403, code: 'AUTH_004' };
    await refused(Sent.PermissionDeniedError, readOnly.users.invite({ ...owner, role: 'admin' }), forbidden);
    await production.users.invite({ ...owner, role: 'admin', sandbox: true });
    assert.equal(last().headers.get('x-sandbox'), 'true');
    assert.deepEqual((await production.users.list()).data.users, []);
  },

  async all_methods_on_a_webhook_from_create_to_delete() {
    for (const whose of [production, test]) {
      const made = (await whose.webhooks.create({ ...usual, event_filters: { contact: ['opt_out'] } })).data;
      assert.equal(last().status, 201);
      assert.match(made.signing_secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
      const whole = { ...made, signing_secret: null };
      assert.deepEqual((await whose.webhooks.retrieve(made.id)).data, whole);
      const updated = (await whose.webhooks.update(made.id, { retry_count: 5, event_filters: null })).data;
      assert.deepEqual([updated.retry_count, updated.event_filters], [5, null]);
      const off = (await whose.webhooks.toggleStatus(made.id, { is_active: false })).data;
      assert.equal(off.is_active, false);
      const filter = { page: 1, page_size: 10, is_active: false, search: 'crm' };
      const { webhooks } = (await whose.webhooks.list(filter)).data;
      assert.deepEqual(webhooks.map(({ id }) => id), [made.id]);
      const rotated = (await whose.webhooks.rotateSecret(made.id, {})).data;
      assert.notEqual(rotated.signing_secret, made.signing_secret);
      await whose.webhooks.delete(made.id);
      assert.equal(last().status, 204);
      const gone = { status: 404, code: 'RESOURCE_008' };
      await refused(Sent.NotFoundError, whose.webhooks.retrieve(made.id), gone);
      await refused(Sent.NotFoundError, whose.webhooks.delete(made.id), gone);
    }
    const fields = ['display_name', 'endpoint_url', 'event_types'];
    const wrong = { status: 400, code: 'VALIDATION_001', fields };
    await refused(Sent.BadRequestError, production.webhooks.create({}), wrong);
    const types = (await production.webhooks.listEventTypes()).data.event_types;
    assert.deepEqual(types.map(({ name }) => name), ['contact', 'api_key', 'user']);
  },

  async a_signed_delivery_arrives_and_a_rotation_loses_none() {
    const here = await receiver();
    const webhook = (await test.webhooks.create({ ...usual, endpoint_url: here.url })).data;
    const old = webhook.signing_secret;
    const contact = (await test.contacts.create({ phone_number: '+14155551234' })).data;
    const first = await here.next();
    assert.equal(first.headers['x-webhook-signature'], signature(old, first));
    assert.equal(JSON.parse(first.body).payload.contact_id, contact.id);
    const { signing_secret: fresh } = (await test.webhooks.rotateSecret(webhook.id, {})).data;
    await test.contacts.update(contact.id, { opt_out: true });
    for (const expected of ['contact.updated', 'contact.opt_out']) {
      const next = await here.next();
      assert.equal(next.headers['x-webhook-event-type'], expected);
      assert.equal(next.headers['x-webhook-signature'], signature(fresh, next));
      assert.equal(next.headers['x-webhook-signature-previous'], signature(old, next));
    }
    const told = (await test.webhooks.test(webhook.id, { event_type: 'user.invited' })).data;
    assert.deepEqual(told, { success: true, message: 'Test event delivered successfully' });
    await here.next();
    const { events } = (await test.webhooks.listEvents(webhook.id, { page: 1, page_size: 10 })).data;
    assert.deepEqual(
      events.map(({ event_type: type, delivery_status: status }) => `${type} ${status}`),
      ['user.invited delivered', 'contact.opt_out delivered', 'contact.updated delivered', 'contact.created delivered'],
    );
    here.close();
  },

  async a_key_of_idempotency_makes_one_of_two() {
    const key = { 'Idempotency-Key': `test-${randomUUID()}` };
    const first = (await test.webhooks.create({ ...usual, ...key })).data;
    const again = (await test.webhooks.create({ ...usual, display_name: 'other', ...key })).data;
    assert.deepEqual(again, first);
    assert.equal(last().headers.get('idempotent-replayed'), 'true');
    assert.equal((await test.webhooks.list({ page: 1, page_size: 10 })).data.pagination.total_count, 1);
  },
};

await runAll(tests);
