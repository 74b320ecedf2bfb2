// Takes pictures of the pages, for people to look at: target/screenshots.
//
// Fills a server with what a company might have, then takes each page of the list wide by light and by
// dark, and narrow by light, from top to bottom. Fails if a page is not answered with 200 or does
// what no page may. Started by `make screenshots`.

import http from 'node:http';
import { mkdirSync, rmSync } from 'node:fs';

import { NARROW, PASSWORD, Test, WIDE, as, folder, generate, say, server, startBrowser } from './lib.mjs';

const DAY = 86_400_000;
const LOOKS = [
  { look: 'wide-light', viewport: WIDE, colorScheme: 'light' },
  { look: 'wide-dark', viewport: WIDE, colorScheme: 'dark' },
  { look: 'narrow-light', viewport: NARROW, colorScheme: 'light' },
];
const NAMES = [
  'billing job', 'checkout', 'nightly export', 'CRM sync', 'support desk', 'mobile backend',
  'marketing mails', 'data warehouse', 'status page', 'partner: Globex', 'partner: Initech', 'load test',
];

const call = (method, path, key, headers = {}, json = null) =>
  server.send(method, path, { headers: { 'x-api-key': key, 'user-agent': 'Sent/Python 0.46.0', ...headers }, json });

/** Lets so many days pass, with a day's requests in each. */
async function live(keys, days) {
  for (let day = 0; day < days; day += 1) {
    await server.advance(DAY);
    for (const [index, { key }] of keys.entries()) {
      for (let n = 0; n < 1 + ((index * 7 + day * 3) % 5); n += 1) await call('GET', '/v3/me', key);
      if (index % 4 === 1) await call('GET', '/v3/nothing', key);
    }
    await call('GET', '/v3/me', 'b5b8f8f8-0000-4000-8000-000000000000');
    await server.flush();
  }
}

/** What a company might have after some months. Gives what the list of pages needs. */
async function fill(t) {
  await server.fresh({ begin: Date.UTC(2026, 4, 4, 9, 30) });
  const page = await as(t, 'owner');
  for (const who of ['admin', 'developer', 'billing']) await as(t, who);
  await server.cliJson(['users', 'invite', '--name', 'Marie Curie', '--email', 'marie@example.com', '--role', 'developer']);
  const keys = [];
  for (const [index, name] of NAMES.entries()) {
    keys.push(
      await generate(page, name, {
        environment: index % 3 === 2 ? 'Test' : 'Production',
        access: index % 4 === 3 ? 'Read only' : null,
        expiry: index % 5 === 4 ? 'Never' : null,
      }),
    );
  }
  for (let n = 1; n <= 20; n += 1) {
    await server.cliJson(['keys', 'create', '--name', `worker ${String(n).padStart(2, '0')}`, '--environment', 'test']);
  }
  await live(keys, 6);
  await call('GET', '/v3/me', keys[5].key, { origin: 'https://shop.example' });
  await call('POST', '/v3/contacts', keys[3].key, {}, {});
  for (let n = 0; n < 205; n += 1) await call('GET', '/v3/me', keys[0].key);
  const [disabled, revoked, rotated] = [keys[6], keys[7], keys[1]];
  await server.cliJson(['keys', 'disable', disabled.id]);
  const refused = await call('GET', '/v3/me', disabled.key);
  await server.cliJson(['keys', 'revoke', revoked.id]);
  await call('GET', '/v3/me', revoked.key);
  await server.flush();
  await page.context().clearCookies();
  const owner = await as(t, 'owner');
  await owner.goto(`/keys/${rotated.id}/rotate`);
  await owner.getByRole('radio', { name: '7 days' }).check();
  await owner.getByRole('button', { name: 'Rotate key' }).click();
  await call('GET', '/v3/me', rotated.key);
  await server.flush();
  return { owner, rotated, keys, request: refused.headers['x-request-id'] };
}

const pictures = folder('screenshots/');
rmSync(pictures, { recursive: true, force: true });
mkdirSync(pictures, { recursive: true });
const browser = await startBrowser();
const t = await Test.begin(browser);
let n_pages = 0;

/** Takes a page as it stands. */
async function take(page, name) {
  for (const { look, viewport, colorScheme } of LOOKS) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${pictures}${name}-${look}.png`, fullPage: true });
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(WIDE);
  n_pages += 1;
}

async function takeAt(page, name, path) {
  const response = await page.goto(path);
  if (response.status() !== 200) throw new Error(`${path} is answered with ${response.status()}`);
  await take(page, name);
}

const stranger = await as(t, null);
await takeAt(stranger, 'setup', await server.setupLink());
await takeAt(stranger, 'setup-without-link', '/setup');
for (const [name, path] of [
  ['docs', '/docs'], ['docs-reference', '/docs/reference'],
  ['docs-reference-webhooks', '/docs/reference/webhooks'], ['errors', '/errors'], ['error', '/errors/AUTH_002'],
]) {
  await takeAt(stranger, name, path);
}
const empty = await as(t, 'owner');
for (const name of ['overview', 'keys', 'webhooks', 'requests', 'alerts']) await takeAt(empty, `${name}-empty`, `/${name}`);

const { owner, rotated, keys, request } = await fill(t);
for (const [name, path] of [
  ['overview', '/overview'], ['overview-30d', '/overview?span=30d'], ['keys', '/keys'],
  ['keys-filtered', '/keys?status=revoked'], ['keys-none', '/keys?q=nothing+like+it'], ['key-new', '/keys/new'],
  ['key', `/keys/${keys[0].id}`], ['key-rotating', `/keys/${rotated.id}`], ['key-edit', `/keys/${keys[0].id}/edit`],
  ['key-rotate', `/keys/${keys[0].id}/rotate`], ['key-revoke', `/keys/${keys[0].id}/revoke`],
  ['requests', '/requests'], ['requests-strangers', '/requests?whose=strangers'], ['request', `/requests/${request}`],
  ['alerts', '/alerts'], ['alerts-history', '/alerts?show=all'], ['team', '/team'], ['audit', '/audit'],
  ['profile', '/profile'],
]) {
  await takeAt(owner, name, path);
}
await generate(owner, 'the newest', { environment: 'Test' });
await take(owner, 'key-shown-once');
// A webhook that works, with deliveries, and one whose receiver is not there.
const here = http.createServer((request, response) => response.end('ok'));
await new Promise((resolve) => here.listen(0, '127.0.0.1', resolve));
for (const [name, url] of [['Orders', 'http://127.0.0.1:9/'], ['CRM', `http://127.0.0.1:${here.address().port}/hook`]]) {
  await owner.goto('/webhooks/new');
  await owner.getByLabel('Name').fill(name);
  await owner.getByRole('radio', { name: 'Test' }).check();
  await owner.getByLabel('Address').fill(url);
  if (name === 'CRM') await take(owner, 'webhook-new');
  await owner.getByRole('button', { name: 'Add webhook' }).click();
  await owner.getByRole('heading', { name: 'Your webhook is ready' }).waitFor();
  if (name === 'CRM') await take(owner, 'webhook-secret');
  await owner.getByRole('link', { name: 'I have copied it' }).click();
  await owner.getByRole('button', { name: 'Send test' }).click();
  await owner.getByText(/The test was/).waitFor();
  await take(owner, `webhook-${name.toLowerCase()}`);
}
await takeAt(owner, 'webhooks', '/webhooks');
await owner.getByRole('link', { name: 'CRM' }).click();
await owner.getByRole('link', { name: 'Rotate secret' }).click();
await take(owner, 'webhook-rotate');
await owner.goBack();
await owner.getByRole('link', { name: 'Delete' }).click();
await take(owner, 'webhook-delete');
here.close();
await owner.goto('/team');
await owner.getByRole('row', { name: 'developer@example.com' }).getByRole('link').click();
await take(owner, 'member');
await owner.goto('/profile');
await owner.getByRole('button', { name: 'Set up an authenticator app' }).click();
await take(owner, 'second-factor');
const visitor = await t.visitor();
for (const [name, path] of [['login', '/login'], ['login-code', '/login/code'], ['forgot', '/forgot']]) {
  await takeAt(visitor, name, path);
}
await visitor.goto('/login');
await visitor.getByLabel('E-mail address').fill('owner@example.com');
await visitor.getByLabel('Password', { exact: true }).fill(`not ${PASSWORD}`);
await visitor.getByRole('button', { name: 'Sign in', exact: true }).click();
await visitor.getByRole('alert').waitFor();
await take(visitor, 'login-wrong');
const invited = await server.cliJson(['users', 'invite', '--name', 'Rosa', '--email', 'rosa@example.com', '--role', 'billing']);
await takeAt(visitor, 'invitation', new URL(invited.url).pathname);

const complaints = await t.complaints();
await t.end();
await browser.close();
if (complaints.length > 0) throw new Error(complaints.join('\n'));
say(`${n_pages * LOOKS.length} pictures of ${n_pages} pages are in ${pictures}`);
process.exit(0);
