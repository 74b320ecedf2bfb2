// The dashboard, as people use it: from the first start to a key that is revoked.

import assert from 'node:assert/strict';

import { PASSWORD, as, assertSound, cookiesOf, generate, signIn } from '../lib.mjs';

const me = (server, key) => server.send('GET', '/v3/me', { headers: { 'x-api-key': key } });

async function setUpBy(page, server) {
  await page.goto(await server.setupLink());
  await page.getByLabel('Name of the account').fill('Acme');
  await page.getByLabel('Your name').fill('Ada Lovelace');
  await page.getByLabel('Your e-mail address').fill('ada@example.com');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Make the account' }).click();
  await page.getByRole('heading', { name: 'No API keys yet' }).waitFor();
}

export async function from_the_first_start_to_the_first_call({ page, server }) {
  const link = await server.setupLink();
  await page.goto(link);
  await assertSound(page);
  await setUpBy(page, server);
  await assertSound(page);
  const buttons = page.getByRole('link', { name: 'Generate New API Key' });
  assert.equal(await buttons.count(), 1, 'one button in the middle');
  await buttons.click();
  await assertSound(page);
  await page.getByLabel('Name').fill('billing job');
  await page.getByRole('radio', { name: 'Production' }).check();
  await page.getByRole('button', { name: 'Generate New API Key' }).click();
  await page.getByRole('heading', { name: 'Your new API key' }).waitFor();
  const key = await page.locator('#key').innerText();
  assert.match(key, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(await page.locator('#env').innerText(), `SENT_API_KEY=${key}`);
  assert.equal(await page.locator('#curl').innerText(), `curl -i ${server.base}/v3/me -H "x-api-key: ${key}"`);
  for (const language of ['Python', 'TypeScript', 'Go', 'Rust']) {
    const sample = page.locator('details', { hasText: language }).first();
    assert.ok((await sample.textContent()).includes(server.base), `${language} has the server's address`);
  }
  await assertSound(page);
  assert.equal((await me(server, key)).status, 200);
}

export async function a_key_is_shown_once_and_kept_nowhere({ page, server }) {
  await setUpBy(page, server);
  const { key, id } = await generate(page, 'billing job');
  await page.reload();
  assert.ok(page.url().endsWith(`/keys/${id}`), `reloading goes on elsewhere: ${page.url()}`);
  assert.ok(!(await page.content()).includes(key));
  await page.goto('/overview');
  await page.goBack();
  assert.ok(!(await page.content()).includes(key), 'going back finds nothing');
  for (const path of ['/keys', `/keys/${id}`, '/overview', '/audit', '/requests', '/alerts', '/team', '/profile']) {
    await page.goto(path);
    assert.ok(!(await page.content()).includes(key), path);
  }
  const kept = await page.evaluate(async () =>
    JSON.stringify([
      Object.entries(localStorage),
      Object.entries(sessionStorage),
      document.cookie,
      await indexedDB.databases(),
      await caches.keys(),
      history.state,
    ]),
  );
  assert.ok(!kept.includes(key), kept);
  assert.ok(!(await cookiesOf(page)).includes(key));
  assert.ok(!(await server.log()).includes(key));
  assert.deepEqual(await server.dbGrep(key), []);
  assert.deepEqual(await server.dbGrep(key.replaceAll('-', '')), []);
}

export async function everything_is_done_to_a_key_on_its_page(t) {
  const { server } = t;
  const page = await as(t, 'owner');
  const { key, id } = await generate(page, 'checkout');
  const status = async () => (await me(server, key)).status;
  await page.goto(`/keys/${id}`);
  await page.getByRole('button', { name: 'Disable' }).click();
  await page.getByText('Requests with it are refused from now on').waitFor();
  assert.equal(await status(), 401);
  await page.getByRole('button', { name: 'Enable' }).click();
  await page.getByText('It works again').waitFor();
  assert.equal(await status(), 200);
  await page.getByRole('link', { name: 'Edit' }).click();
  await page.getByLabel('Name').fill('checkout, eu');
  await page.getByRole('radio', { name: 'Custom' }).check();
  await page.getByRole('checkbox', { name: 'Read the members' }).check();
  await page.getByRole('checkbox', { name: 'Create, change and delete contacts' }).uncheck();
  await page.getByLabel('Allowed addresses').fill('203.0.113.0/24');
  await page.getByRole('radio', { name: 'Never' }).check();
  await page.getByText('works for whoever finds it, for ever').waitFor();
  await assertSound(page);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved. It is in force now.').waitFor();
  await page.getByRole('heading', { name: 'checkout, eu' }).waitFor();
  assert.equal(await status(), 401, 'from here it may not be used any more');
  await page.getByRole('link', { name: 'Edit' }).click();
  await page.getByLabel('Allowed addresses').fill('127.0.0.1');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved.').waitFor();
  assert.equal(await status(), 200);
  await page.getByRole('link', { name: 'Rotate' }).click();
  await assertSound(page);
  await page.getByRole('radio', { name: '1 hour' }).check();
  await page.getByRole('button', { name: 'Rotate key' }).click();
  await page.getByText('works on until').waitFor();
  const successor = await page.locator('#key').innerText();
  assert.equal(await status(), 200);
  assert.equal((await me(server, successor)).status, 200);
  await server.flush();
  await page.goto(`/keys/${id}`);
  await page.getByText('was rotated and works until').waitFor();
  await assertSound(page);
  await server.advance(3_600_000);
  assert.equal(await status(), 401);
  assert.equal((await me(server, successor)).status, 200);
  await page.goto('/keys');
  await page.getByRole('row', { name: 'Active' }).getByRole('link').click();
  await page.getByRole('link', { name: 'Revoke' }).click();
  await assertSound(page);
  const revoke = page.getByRole('button', { name: 'Revoke key' });
  assert.ok(await revoke.isDisabled(), 'until the name is typed');
  await page.getByLabel('Type the name').fill('checkout, eu');
  await page.getByLabel('Your password').fill(PASSWORD);
  await revoke.click();
  await page.getByText('No request passes with it any more').waitFor();
  assert.equal((await me(server, successor)).status, 401);
  await assertSound(page);
}

export async function a_refused_request_is_explained(t) {
  const { server } = t;
  const page = await as(t, 'owner');
  const { key, id } = await generate(page, 'billing job', { access: 'Read only' });
  const refused = await server.send('GET', '/v3/me', { headers: { 'x-api-key': 'b5b8f8f8-0000-4000-8000-000000000000' } });
  const lacking = await server.send('POST', '/v3/contacts', { headers: { 'x-api-key': key }, json: {} });
  await page.goto(`/keys/${id}`);
  await page.getByRole('button', { name: 'Disable' }).click();
  const disabled = await me(server, key);
  await server.flush();
  const explain = async (answer, words) => {
    await page.goto('/requests');
    await page.getByLabel('Why was it refused?').fill(answer.headers['x-request-id']);
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByText(words).waitFor();
    await assertSound(page);
  };
  await explain(refused, "not one of this server's");
  await explain(lacking, 'lacks contacts:write');
  await explain(disabled, /disabled by Ada Lovelace/);
  await page.goto('/requests');
  await assertSound(page);
  await page.getByLabel('Why was it refused?').fill('req_nothing');
  await page.getByRole('button', { name: 'Explain' }).click();
  await page.getByText('No such request is remembered').waitFor();
  await page.goto('/requests?status=403');
  assert.equal(await page.locator('tbody tr').count(), 1);
}

export async function without_a_script_everything_works(t) {
  const { server } = t;
  const page = await t.visitor({ javaScriptEnabled: false });
  await setUpBy(page, server);
  await page.getByRole('link', { name: 'Generate New API Key' }).click();
  await page.getByLabel('Name').fill('billing job');
  await page.getByRole('radio', { name: 'Production' }).check();
  await page.getByRole('radio', { name: 'Custom' }).check();
  await page.getByRole('checkbox', { name: 'Read contacts' }).check();
  await page.getByRole('button', { name: 'Generate New API Key' }).click();
  const key = await page.locator('#key').textContent();
  assert.equal((await me(server, key)).status, 200);
  await page.getByRole('link', { name: 'I have copied it' }).click();
  await page.getByRole('link', { name: 'Rotate' }).click();
  await page.getByRole('radio', { name: 'Not at all' }).check();
  await page.getByRole('button', { name: 'Rotate key' }).click();
  const successor = await page.locator('#key').textContent();
  assert.equal((await me(server, key)).status, 401);
  await page.getByRole('link', { name: 'I have copied it' }).click();
  await page.getByRole('link', { name: 'Revoke' }).click();
  await page.getByLabel('Type the name').fill('billing job');
  await page.getByRole('button', { name: 'Revoke key' }).click();
  assert.equal((await me(server, successor)).status, 401);
  await page.goto('/team');
  await page.getByLabel('Name').fill('Grace Hopper');
  await page.getByLabel('E-mail address').fill('grace@example.com');
  await page.getByRole('radio', { name: 'Developer' }).check();
  await page.getByRole('button', { name: 'Invite' }).click();
  await page.getByText('/invitations/').waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByText('You are signed out.').waitFor();
}

export async function a_key_is_generated_with_the_keyboard_alone(t) {
  const page = await as(t, 'owner');
  await page.goto('/keys/new');
  // The browser puts the cursor there by itself, with the first picture of the page.
  await page.locator('#name:focus').waitFor();
  await page.keyboard.type('by keyboard');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Space');
  const isHere = (id) => page.evaluate((id) => document.activeElement.id === id, id);
  assert.ok(await isHere('env-production'));
  await page.keyboard.press('ArrowRight');
  assert.ok(await isHere('env-test'));
  for (let presses = 0; presses < 12; presses += 1) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(() => document.activeElement.matches('button.primary'))) break;
  }
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Your new API key' }).waitFor();
  await page.getByText('by keyboard', { exact: true }).first().waitFor();
}

export async function every_page_is_for_everybody(t) {
  const { server } = t;
  const page = await as(t, 'owner');
  await as(t, 'developer');
  const names = ['<script>alert(1)</script>', 'x'.repeat(100), 'مفتاح الدفع', '"><img src=x onerror=alert(1)>'];
  let last;
  for (const name of names) last = await generate(page, name, { environment: 'Test' });
  await server.send('GET', '/v3/me', {
    headers: { 'x-api-key': last.key, 'user-agent': '<b>agent</b>', origin: 'https://shop.example' },
  });
  await server.send('GET', '/v3/me', { headers: { 'x-api-key': 'nonsense' } });
  await server.flush();
  const people = await server.cliJson(['users', 'list']);
  const other = people.find((member) => member.role === 'developer');
  const paths = [
    '/overview', '/overview?span=30d', '/keys', '/keys?q=nothing', '/keys/new', `/keys/${last.id}`,
    `/keys/${last.id}/edit`, `/keys/${last.id}/rotate`, `/keys/${last.id}/revoke`, '/requests',
    '/requests?whose=strangers', '/alerts', '/alerts?show=all', '/team', `/team/${other.id}`, '/audit',
    '/profile', '/webhooks', '/webhooks/new', '/docs/reference/webhooks', '/nothing',
  ];
  for (const path of paths) {
    await page.goto(path);
    await assertSound(page);
    assert.equal(await page.locator('script:not([src])').count(), 0, path);
    assert.equal(await page.locator('img[onerror]').count(), 0, path);
  }
  const visitor = await as(t, null);
  for (const path of ['/login', '/login/code', '/forgot', '/setup']) {
    await visitor.goto(path);
    await assertSound(visitor);
  }
}

export async function a_second_factor_is_asked_for(t) {
  const { server } = t;
  const { createHmac } = await import('node:crypto');
  const page = await as(t, 'owner');
  await page.goto('/profile');
  await page.getByRole('button', { name: 'Set up an authenticator app' }).click();
  const secret = await page.locator('[data-secret]').innerText();
  await assertSound(page);
  const code = (millis) => {
    const bits = [...secret].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
    const bytes = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
    const counter = Buffer.alloc(8);
    counter.writeBigUInt64BE(BigInt(Math.floor(millis / 30_000)));
    const hash = createHmac('sha1', bytes).update(counter).digest();
    const number = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
    return String(number % 1_000_000).padStart(6, '0');
  };
  // The server's clock stands.
  const now = Date.UTC(2024, 0, 1);
  await page.getByLabel('Enter the six digits').fill('000000');
  await page.getByRole('button', { name: 'Switch it on' }).click();
  await page.getByText('is not the code that the app shows now').waitFor();
  await page.getByLabel('Enter the six digits').fill(code(now));
  await page.getByRole('button', { name: 'Switch it on' }).click();
  await page.getByRole('heading', { name: 'Your recovery codes' }).waitFor();
  const recovery = await page.locator('#codes li').first().innerText();
  assert.equal(await page.locator('#codes li').count(), 10);
  const visitor = await t.visitor();
  await signIn(visitor, 'owner@example.com');
  await visitor.getByRole('heading', { name: 'Second factor' }).waitFor();
  await assertSound(visitor);
  await visitor.goto('/keys');
  await visitor.waitForURL('**/login?**');
  const enter = async (text) => {
    await signIn(visitor, 'owner@example.com');
    await visitor.getByLabel('Code').fill(text);
    await visitor.getByRole('button', { name: 'Go on' }).click();
  };
  await enter(code(now));
  await visitor.getByText('wrong, or was used already').waitFor();
  await server.advance(60_000);
  await enter(code(now + 60_000));
  await visitor.waitForURL('**/overview');
  await visitor.getByRole('button', { name: 'Sign out' }).click();
  await enter(recovery);
  await visitor.waitForURL('**/overview');
  await visitor.getByRole('button', { name: 'Sign out' }).click();
  await enter(recovery);
  await visitor.getByText('wrong, or was used already').waitFor();
  assert.deepEqual(await server.dbGrep(secret), []);
  assert.deepEqual(await server.dbGrep(recovery), []);
}
