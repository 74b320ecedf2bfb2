// The harness itself: whatever it is to notice, it does.

import assert from 'node:assert/strict';

import { assertAccessible, assertFitsPhone, cookiesOf } from '../lib.mjs';

const PAGE = '<!doctype html><html lang="en"><title>Made up</title><main><h1>Made up</h1>';

/** Has a path answered by the test in place of the server. */
async function make(page, path, body, headers = {}) {
  const answer = { contentType: 'text/html; charset=utf-8', headers, body: PAGE + body };
  await page.route(path, (route) => route.fulfill(answer));
}

export async function what_no_page_may_do_is_noticed(t) {
  const { page } = t;
  await make(page, '/script', '<script>nothing()</script>');
  await make(page, '/console', '<script>console.error("told")</script>');
  await make(page, '/foreign', '<img alt="" src="http://foreign.example/x.png">');
  await make(page, '/missing', '<img alt="" src="/errors/NOTHING_001">');
  await make(page, '/policy', '<script>1</script>', {
    // Of scripts alone: a browser may ask for the icon too, whose refusal nobody foresees here.
    'content-security-policy': "script-src 'none'",
  });
  await page.route('/broken', (route) => route.fulfill({ status: 500, body: 'broken' }));

  t.foresee('an error in a script: nothing is not defined');
  await page.goto('/script');
  t.foresee('an error in the console: told');
  await page.goto('/console');
  t.foresee('a request to a foreign host: GET http://foreign.example/x.png');
  t.foresee('net::ERR_NAME_NOT_RESOLVED');
  await page.goto('/foreign');
  t.foresee('an error in the console: Failed to load resource: the server responded');
  await page.goto('/missing');
  t.foresee("the following Content Security Policy directive 'script-src 'none''");
  await page.goto('/policy');
  t.foresee('an answer 500: ');
  await page.goto('/broken');
}

export async function what_was_foreseen_and_never_came_is_noticed(t) {
  t.foresee('this');
  assert.deepEqual(await t.complaints(), ['it never came: this']);
  t.foresee('it never came');
  await t.page.setContent('<script>console.error("it never came, this did")</script>');
}

export async function a_page_that_not_everybody_can_use_is_noticed({ page }) {
  await make(page, '/unnamed', '<button></button>');
  await page.goto('/unnamed');
  await assert.rejects(assertAccessible(page), /critical: button-name/);
  const dark = '@media (prefers-color-scheme: dark) { h1 { color: #222; background: #000 } }';
  await make(page, '/dark', `<style>${dark}</style>`);
  await page.goto('/dark');
  await assert.rejects(assertAccessible(page), (error) => {
    assert.match(error.message, /^dark: serious: color-contrast/m);
    assert.doesNotMatch(error.message, /^light/m);
    return true;
  });
}

export async function a_page_that_a_phone_would_scroll_sideways_is_noticed({ page }) {
  await make(page, '/wide', '<p style="width: 400px">Too wide</p>');
  await page.goto('/wide');
  await assert.rejects(assertFitsPhone(page), /is 4\d\d wide on a screen of 390:\n.*<p style/s);
}

export async function every_test_begins_with_an_empty_server_at_the_same_time({ server }) {
  const answer = await server.send('GET', '/v3/me');
  assert.equal(answer.status, 401);
  assert.equal(JSON.parse(answer.text).meta.timestamp, '2024-01-01T00:00:00Z');
  assert.deepEqual(await server.cliJson(['accounts', 'list']), []);
  await server.advance(61_000);
  const later = await server.send('GET', '/v3/me');
  assert.equal(JSON.parse(later.text).meta.timestamp, '2024-01-01T00:01:01Z');
}

export async function the_real_program_works_on_the_servers_data({ server }) {
  await server.fresh({ begin: Date.now() });
  const owner = ['--owner-name', 'Ada Lovelace', '--owner-email', 'ada@example.com'];
  const made = await server.cli(['setup', '--account', 'Acme', ...owner, '--password-stdin'], {
    stdin: 'correct horse battery staple\n',
  });
  assert.equal(made.code, 0, made.err);
  const create = ['keys', 'create', '--name', 'billing job', '--environment', 'test'];
  const { key } = await server.cliJson(create);
  const headers = { 'x-api-key': key };
  assert.equal((await server.send('GET', '/v3/me', { headers })).status, 200);
  await server.restart();
  assert.equal((await server.send('GET', '/v3/me', { headers })).status, 200);
  await server.flush();
  assert.match(await server.log(), /"route":"\/v3\/me","status":200/);
  assert.deepEqual(await server.dbGrep(key), []);
  assert.notDeepEqual(await server.dbGrep('billing job'), []);
}

export async function the_page_stays_on_its_server_through_a_restart({ page, server }) {
  await page.goto('/errors');
  await server.restart();
  assert.equal((await page.reload()).status(), 200);
}

export async function a_visitor_has_cookies_of_their_own(t) {
  const other = await t.visitor();
  const answer = { headers: { 'set-cookie': 'session=1' }, body: PAGE, contentType: 'text/html' };
  await other.route('/cookie', (route) => route.fulfill(answer));
  await other.goto('/cookie');
  assert.equal(await cookiesOf(other), 'session=1');
  assert.equal(await cookiesOf(t.page), '');
}
