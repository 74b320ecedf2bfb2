// Webhooks, as people use them: added, watched, mended, and gone.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import http from 'node:http';

import { PASSWORD, as, assertSound, generate } from '../lib.mjs';

/** A receiver on this machine. It answers with the statuses that it is told, then with 200. */
async function receiver() {
  const got = [];
  const waiting = [];
  const statuses = [];
  const listening = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    response.statusCode = statuses.shift() ?? 200;
    response.end('<b>thanks</b>');
    const delivery = { headers: request.headers, body };
    if (waiting.length > 0) waiting.shift()(delivery);
    else got.push(delivery);
  });
  await new Promise((resolve) => listening.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${listening.address().port}/hook`,
    statuses,
    next: () => (got.length > 0 ? got.shift() : new Promise((resolve) => waiting.push(resolve))),
    close: () => listening.close(),
  };
}

function signature(secret, { headers, body }) {
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  const signed = `${headers['x-webhook-id']}.${headers['x-webhook-timestamp']}.${body}`;
  return `v1,${createHmac('sha256', key).update(signed).digest('base64')}`;
}

/** Adds a webhook and gives its secret and the path of its page. */
async function add(page, name, url) {
  await page.goto('/webhooks/new');
  await page.getByLabel('Name').fill(name);
  await page.getByRole('radio', { name: 'Test' }).check();
  await page.getByLabel('Address').fill(url);
  await page.getByRole('button', { name: 'Add webhook' }).click();
  await page.getByRole('heading', { name: 'Your webhook is ready' }).waitFor();
  const secret = await page.locator('#key').innerText();
  const path = await page.getByRole('link', { name: 'I have copied it' }).getAttribute('href');
  return { secret, path };
}

const create = (server, key, number) =>
  server.send('POST', '/v3/contacts', { headers: { 'x-api-key': key }, json: { phone_number: number } });

export async function from_the_first_webhook_to_a_signed_delivery(t) {
  const { server } = t;
  const here = await receiver();
  const page = await as(t, 'owner');
  await page.goto('/webhooks');
  await page.getByRole('heading', { name: 'No webhooks yet' }).waitFor();
  await assertSound(page);
  await page.getByRole('link', { name: 'Add a webhook' }).click();
  await assertSound(page);
  const { secret, path } = await add(page, 'CRM', here.url);
  assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  await assertSound(page);
  await page.reload();
  assert.ok(page.url().endsWith(path), `reloading goes on elsewhere: ${page.url()}`);
  assert.ok(!(await page.content()).includes(secret));
  await assertSound(page);
  const { key } = await generate(page, 'ci', { environment: 'Test' });
  // The first event is that of the key itself.
  assert.equal((await here.next()).headers['x-webhook-event-type'], 'api_key.created');
  assert.equal((await create(server, key, '+14155550123')).status, 201);
  const delivery = await here.next();
  assert.equal(delivery.headers['x-webhook-event-type'], 'contact.created');
  assert.equal(delivery.headers['x-webhook-signature'], signature(secret, delivery));
  await page.goto(path);
  const row = page.getByRole('row', { name: /contact\.created.*Delivered.*200/ });
  await row.getByRole('link').click();
  await page.getByRole('heading', { name: 'contact.created' }).waitFor();
  assert.match(await page.locator('main').innerText(), /"phone_number": "\+14155550123"/);
  assert.equal(await page.locator('main pre b').count(), 0, 'an answer is text');
  await assertSound(page);
  await page.getByRole('button', { name: 'Send again' }).click();
  const again = await here.next();
  assert.equal(again.headers['x-webhook-event-id'], delivery.headers['x-webhook-event-id']);
  assert.deepEqual(await server.dbGrep(secret), []);
  assert.ok(!(await server.log()).includes(secret));
  here.close();
}

export async function a_secret_is_rotated_and_no_delivery_is_lost(t) {
  const { server } = t;
  const here = await receiver();
  const page = await as(t, 'owner');
  const { secret: old, path } = await add(page, 'CRM', here.url);
  await page.goto(path);
  await page.getByRole('link', { name: 'Rotate secret' }).click();
  await assertSound(page);
  await page.getByRole('button', { name: 'Rotate secret' }).click();
  await page.getByRole('heading', { name: 'The new signing secret' }).waitFor();
  const fresh = await page.locator('#key').innerText();
  await assertSound(page);
  const { key } = await generate(page, 'ci', { environment: 'Test' });
  await create(server, key, '+14155550123');
  for (const expected of ['api_key.created', 'contact.created']) {
    const delivery = await here.next();
    assert.equal(delivery.headers['x-webhook-event-type'], expected);
    assert.equal(delivery.headers['x-webhook-signature'], signature(fresh, delivery));
    assert.equal(delivery.headers['x-webhook-signature-previous'], signature(old, delivery));
  }
  await page.goto(path);
  assert.match(await page.locator('main').innerText(), /Old secret\s+signs as well until/);
  here.close();
}

export async function a_failing_webhook_is_mended_switched_and_deleted(t) {
  const here = await receiver();
  const page = await as(t, 'owner');
  const { path } = await add(page, 'CRM', here.url);
  await page.goto(path);
  here.statuses.push(503);
  await page.getByLabel('Event').selectOption('user.invited');
  await page.getByRole('button', { name: 'Send test' }).click();
  await page.getByText('The test was not delivered; see below why.').waitFor();
  await page.getByText('answered 503').first().waitFor();
  await assertSound(page);
  await page.getByRole('button', { name: 'Send test' }).click();
  await page.getByText('The test was delivered.').waitFor();
  await page.getByRole('button', { name: 'Switch off' }).click();
  await page.getByText('It hears of nothing until it is switched on.').waitFor();
  await page.getByRole('button', { name: 'Switch on' }).click();
  await page.getByText('What waited for it is being sent.').waitFor();
  await page.getByRole('link', { name: 'Edit' }).click();
  await assertSound(page);
  await page.getByLabel('Address').fill('https://10.0.0.1/');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText(/not on the public internet/).waitFor();
  await assertSound(page);
  await page.getByLabel('Address').fill('https://crm.example/hook');
  await page.getByText('Only some of them').first().click();
  await page.getByRole('checkbox', { name: /contact\.opt_out/ }).check();
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved. It is in force now.').waitFor();
  assert.match(await page.locator('main').innerText(), /only contact\.opt_out/);
  await page.getByRole('link', { name: 'Delete' }).click();
  await assertSound(page);
  await page.getByLabel(/Type the name/).fill('CRM');
  await page.getByRole('button', { name: 'Delete webhook' }).click();
  await page.getByText('The webhook is deleted.').waitFor();
  await page.goto('/audit?action=webhook');
  const trail = await page.locator('main').innerText();
  for (const words of ['added the webhook', 'switched the webhook off', 'changed the webhook', 'deleted the webhook']) {
    assert.ok(trail.includes(words), `${words}: ${trail}`);
  }
  here.close();
}

export async function a_production_webhook_asks_for_the_password_and_billing_sees_none(t) {
  const { server } = t;
  const page = await as(t, 'owner');
  await page.goto('/webhooks/new');
  await page.getByLabel('Name').fill('Live');
  await page.getByRole('radio', { name: 'Production' }).check();
  await page.getByLabel('Address').fill('http://127.0.0.1:9/');
  await page.getByRole('button', { name: 'Add webhook' }).click();
  await page.locator('#url-wrong', { hasText: 'https://' }).waitFor();
  await page.getByLabel('Address').fill('https://crm.example/hook');
  await page.getByRole('button', { name: 'Add webhook' }).click();
  await page.getByRole('link', { name: 'I have copied it' }).click();
  const path = new URL(page.url()).pathname;
  await server.advance(11 * 60_000);
  await page.goto(`${path}/rotate`);
  await page.getByLabel(/Your password/).fill('wrong wrong wrong');
  await page.getByRole('button', { name: 'Rotate secret' }).click();
  await page.getByText('The password or code was wrong.').waitFor();
  await page.getByLabel(/Your password/).fill(PASSWORD);
  await page.getByRole('button', { name: 'Rotate secret' }).click();
  await page.getByRole('heading', { name: 'The new signing secret' }).waitFor();
  const billing = await as(t, 'billing');
  await billing.goto('/overview');
  assert.equal(await billing.getByRole('link', { name: 'Webhooks' }).count(), 0);
  const response = await billing.goto(path);
  assert.equal(response.status(), 403);
  const developer = await as(t, 'developer');
  await developer.goto(path);
  await developer.getByRole('heading', { name: 'Live', exact: true }).waitFor();
}
