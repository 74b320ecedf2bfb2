// What the tests of the official TypeScript client share.
//
// They are started by `cargo test -p keyward --features outside --test clients`, which starts a server,
// issues the keys and moves the clock: `advance <milliseconds>` on stdout asks for it, `ok` on stdin
// answers.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(new URL('../../../target/e2e/typescript/package.json', import.meta.url));
export const { default: Sent } = require('@sentdm/sentdm');

export const setting = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run 'make test', which starts a server for this`);
  return value;
};
export const BASE_URL = setting('KEYWARD_BASE_URL');
export const KEY = setting('KEYWARD_KEY');
export const ACCOUNT_ID = setting('KEYWARD_ACCOUNT_ID');
export const WINDOW_MS = 60_000;
export const LIMIT = 200;

export const say = (text) => process.stderr.write(`${text}\n`);

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Moves the server's clock; it stands there when this returns. */
export async function advance(millis) {
  process.stdout.write(`advance ${millis}\n`);
  const { value } = await answers.next();
  assert.equal(value, 'ok');
}

/** What was sent and what came back, in order. */
export const exchanges = [];

/** A client that keeps what it sends and gets. Every answer of the server is checked on its way. */
export function client(apiKey, { maxRetries = 0, onAnswer = async () => {} } = {}) {
  const fetchAndKeep = async (url, init) => {
    const response = await fetch(url, init);
    const text = await response.clone().text();
    const got = text === '' ? null : JSON.parse(text);
    const headers = response.headers;
    assert.match(headers.get('x-request-id'), /^req_[0-9A-Za-z]{20,}$/);
    assert.equal(headers.get('x-api-version'), 'v3');
    assert.match(headers.get('x-response-time'), /^\d+ms$/);
    if (got !== null) {
      // A repeated answer is that of an earlier request, byte for byte.
      const original = headers.get('x-original-request-id') ?? headers.get('x-request-id');
      assert.equal(got.meta.request_id, original);
      assert.equal(got.success, response.ok);
    }
    assert.ok(!text.includes(apiKey), 'no answer repeats a key');
    const kept = { status: response.status, headers, got, method: init.method, sent: init.body ?? null };
    exchanges.push(kept);
    await onAnswer(kept);
    return response;
  };
  return new Sent({ apiKey, baseURL: BASE_URL, maxRetries, fetch: fetchAndKeep, logLevel: 'off' });
}

export const production = client(KEY);
export const test = client(setting('KEYWARD_TEST_KEY'));
export const readOnly = client(setting('KEYWARD_READ_ONLY_KEY'));
export const other = client(setting('KEYWARD_OTHER_KEY'));

/** The error that a call must fail with. */
export async function refused(ErrorClass, call, { status, code, fields = null }) {
  const error = await call.then(
    () => assert.fail(`it passed; ${code} was expected`),
    (thrown) => thrown,
  );
  assert.ok(error instanceof ErrorClass, String(error));
  assert.equal(error.status, status);
  assert.equal(error.error.error.code, code);
  assert.ok(error.error.error.doc_url.endsWith(code), error.error.error.doc_url);
  if (fields !== null) assert.deepEqual(Object.keys(error.error.error.details), fields);
  return error;
}

/** Runs tests one after another, each with empty accounts and untouched limits, and ends the script. */
export async function runAll(tests) {
  const faults = [];
  for (const [name, run] of Object.entries(tests)) {
    await advance(2 * WINDOW_MS);
    for (const whose of [production, test, other]) {
      const contacts = await whose.contacts.list({ page: 1, page_size: 100 });
      for (const { id } of contacts.data.contacts) await whose.contacts.delete(id, {});
      const hooks = await whose.webhooks.list({ page: 1, page_size: 100 });
      for (const { id } of hooks.data.webhooks) await whose.webhooks.delete(id);
    }
    await advance(2 * WINDOW_MS);
    exchanges.length = 0;
    try {
      await run();
      say(`ok     ${name}`);
    } catch (error) {
      faults.push(name);
      say(`FAILED ${name}\n${error.stack ?? error}`);
    }
  }
  say(`\n${Object.keys(tests).length - faults.length} passed, ${faults.length} failed: ${faults.join(', ')}`);
  process.exit(faults.length === 0 ? 0 : 1);
}
