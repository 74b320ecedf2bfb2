// Passkeys, with the browser's own virtual authenticator: making one, signing in, and what is refused.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';

import { assertSound, cookiesOf } from '../lib.mjs';

const PASSWORD = 'correct horse battery staple';
const MINUTE = 60_000;

/** A server with the account Acme and its owner Ada, and a page that knows it by name. */
async function begin(t) {
  await t.server.fresh({ begin: Date.now() });
  const owner = ['--owner-name', 'Ada Lovelace', '--owner-email', 'ada@example.com'];
  const made = await t.server.cli(['setup', '--account', 'Acme', ...owner, '--password-stdin'], {
    stdin: `${PASSWORD}\n`,
  });
  assert.equal(made.code, 0, made.err);
  return visit(t);
}

/** The authenticator answers at once whatever it is asked, so it is not offered unasked. */
async function visit(t) {
  const page = await t.visitor({ baseURL: t.server.named });
  await page.addInitScript(() => {
    PublicKeyCredential.isConditionalMediationAvailable = async () => false;
  });
  return page;
}

/** Plugs an authenticator in that signs without asking anybody. */
async function plug(page, options = {}) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('WebAuthn.enable');
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      ctap2Version: 'ctap2_1',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
      ...options,
    },
  });
  const send = (method, more = {}) => cdp.send(`WebAuthn.${method}`, { authenticatorId, ...more });
  const credentials = async () => (await send('getCredentials')).credentials;
  return { send, credentials };
}

async function signIn(page, email = 'ada@example.com') {
  await page.goto('/login');
  await page.getByLabel('E-mail address').fill(email);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.waitForURL('**/overview');
}

async function signOut(page) {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL('**/login?done=out');
}

async function addPasskey(page, name) {
  await page.goto('/profile');
  await page.getByRole('link', { name: 'Add a passkey' }).click();
  await page.getByLabel('Name, for you').fill(name);
  await page.getByRole('button', { name: 'Make the passkey' }).click();
  await page.getByText('The passkey is added.').waitFor();
}

const passkeyButton = (page) => page.getByRole('button', { name: 'Sign in with a passkey' });

/** Has the authenticator answer what the page was given, as `change` changes it, and sends nothing. */
const answer = (page, change = {}) =>
  page.evaluate(async (change) => {
    const form = document.querySelector('form[data-passkey]');
    const options = { ...JSON.parse(form.dataset.options), ...change };
    const isNew = form.dataset.passkey === 'create';
    const credential = isNew
      ? await navigator.credentials.create({
          publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options),
        })
      : await navigator.credentials.get({
          publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options),
        });
    return { challenge: form.elements.challenge.value, credential: credential.toJSON() };
  }, change);

/** A new answer to the page to sign in. */
async function freshAnswer(page, change) {
  await page.goto('/login');
  return answer(page, change);
}

/** Sends what an authenticator answered, past the browser. */
async function send(t, page, path, { challenge, credential }, { more = {}, ...options } = {}) {
  const headers = { host: new URL(t.server.named).host, origin: t.server.named, ...options.headers };
  const text = typeof credential === 'string' ? credential : JSON.stringify(credential);
  const cookies = options.cookies ?? (await cookiesOf(page));
  return t.server.send('POST', path, { headers, cookies, form: { challenge, credential: text, ...more } });
}

const USED = /This took too long, or was tried before/;
const REFUSED = /This passkey opens nothing here/;

function assertRefused(reply, words, what) {
  assert.equal(reply.status, 403, what);
  assert.match(reply.text, words, what);
  assert.ok(!reply.setCookies.some((cookie) => /^keyward-over-http=/.test(cookie)), what);
}

const trail = async (t, action) => {
  const rows = await t.server.cliJson(['audit', 'list']);
  return rows.filter((row) => row.action === action);
};

/** Ada has a passkey, is signed out, and looks at the page to sign in. */
async function beginWithPasskey(t, options) {
  const page = await begin(t);
  const key = await plug(page, options);
  await signIn(page);
  await addPasskey(page, 'Work laptop');
  await signOut(page);
  await page.goto('/login');
  return { page, key };
}

/** Bob is a developer of Acme, signed in on a page of his own. */
async function addBob(t) {
  const who = ['--name', 'Bob', '--email', 'bob@example.com', '--role', 'developer'];
  const { url } = await t.server.cliJson(['users', 'invite', ...who]);
  const page = await visit(t);
  await page.goto(new URL(url).pathname);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Join' }).click();
  await page.waitForURL('**/overview');
  return page;
}

/** The code that an authenticator app shows (RFC 6238). */
function codeAt(secret, millis) {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const bits = [...secret].map((c) => alphabet.indexOf(c).toString(2).padStart(5, '0')).join('');
  const bytes = bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(millis / 30_000)));
  const hash = createHmac('sha1', Buffer.from(bytes)).update(step).digest();
  const number = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

export async function a_member_signs_in_with_a_passkey_again_and_again(t) {
  const { page } = await beginWithPasskey(t);
  await page.goto('/login?next=%2Fteam');
  await assertSound(page);
  await passkeyButton(page).click();
  await page.waitForURL('**/team');
  await signOut(page);
  await t.server.advance(3 * 24 * 60 * MINUTE);
  await page.goto('/login');
  await passkeyButton(page).click();
  await page.waitForURL('**/overview');
  await page.goto('/profile');
  const row = page.getByRole('row', { name: /Work laptop/ });
  await assert.doesNotReject(row.getByText('just now').waitFor());
  const started = await trail(t, 'session.started');
  const how = started.map(({ details }) => [details.how, details.passkey]);
  assert.deepEqual(how, [['passkey', 'Work laptop'], ['passkey', 'Work laptop'], [undefined, undefined]]);
  const [added] = await trail(t, 'user.passkey_added');
  assert.deepEqual(added.details, { passkey: 'Work laptop', host: 'localhost' });
  assert.equal(added.label, 'Ada Lovelace');
}

export async function a_passkey_stands_for_both_factors(t) {
  const { page } = await beginWithPasskey(t);
  await signIn(page);
  await page.goto('/profile');
  await page.getByRole('button', { name: 'Set up an authenticator app' }).click();
  const secret = await page.locator('code[data-secret]').textContent();
  const now = JSON.parse((await t.server.send('GET', '/v3/me')).text).meta.timestamp;
  await page.getByLabel('Enter the six digits').fill(codeAt(secret, Date.parse(now)));
  await page.getByRole('button', { name: 'Switch it on' }).click();
  await page.getByRole('heading', { name: 'Recovery codes' }).waitFor();
  await signOut(page);
  await page.goto('/login');
  await passkeyButton(page).click();
  await page.waitForURL('**/overview');
}

export async function the_browser_offers_a_passkey_by_itself_where_it_can(t) {
  await begin(t);
  const page = await t.visitor({ baseURL: t.server.named });
  await plug(page);
  await page.goto('/login');
  const autocomplete = await page.getByLabel('E-mail address').getAttribute('autocomplete');
  assert.equal(autocomplete, 'username webauthn');
  await signIn(page);
  await addPasskey(page, 'Phone');
  // A person would choose it among the names; this authenticator does so at once.
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL('**/overview');
  assert.equal((await trail(t, 'session.started'))[0].details.how, 'passkey');
}

export async function a_passkey_is_renamed_and_removed_and_then_opens_nothing(t) {
  const { page } = await beginWithPasskey(t);
  await passkeyButton(page).click();
  await page.waitForURL('**/overview');
  await page.goto('/profile');
  await assertSound(page);
  await page.getByRole('link', { name: 'Work laptop' }).click();
  await assertSound(page);
  await page.getByLabel('Name').fill('  ');
  await page.getByRole('button', { name: 'Save name' }).click();
  await page.getByText('It must not be empty.').waitFor();
  await page.getByLabel('Name').fill('<b>Desk</b>');
  await page.getByRole('button', { name: 'Save name' }).click();
  await page.getByText('The passkey has its new name.').waitFor();
  await t.server.advance(11 * MINUTE);
  await page.getByRole('link', { name: '<b>Desk</b>' }).click();
  await assertSound(page);
  await page.getByLabel('Your password').fill('wrong');
  await page.getByRole('button', { name: 'Remove passkey' }).click();
  await page.getByText('Nothing was changed.').waitFor();
  await page.getByLabel('Your password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Remove passkey' }).click();
  await page.getByText('The passkey is removed.').waitFor();
  await signOut(page);
  await page.goto('/login');
  await passkeyButton(page).click();
  await page.getByText(REFUSED).waitFor();
  await assertSound(page);
  assert.deepEqual((await trail(t, 'user.passkey_renamed'))[0].details, {
    passkey: '<b>Desk</b>',
    from: 'Work laptop',
  });
  assert.equal((await trail(t, 'user.passkey_removed'))[0].details.passkey, '<b>Desk</b>');
  await signIn(page);
}

export async function adding_a_passkey_asks_for_the_password_again(t) {
  const page = await begin(t);
  await plug(page);
  await signIn(page);
  await page.goto('/profile/passkeys/new');
  await assertSound(page);
  await t.server.advance(11 * MINUTE);
  await page.goto('/profile/passkeys/new');
  assert.equal(await page.locator('form[data-passkey]').count(), 0);
  await assertSound(page);
  await page.getByLabel('Your password').fill('wrong');
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.getByText('Nothing was changed.').waitFor();
  assert.equal(await page.locator('form[data-passkey]').count(), 0);
  await page.getByLabel('Your password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.getByLabel('Name, for you').fill('Key');
  await page.getByRole('button', { name: 'Make the passkey' }).click();
  await page.getByText('The passkey is added.').waitFor();
}

export async function what_the_browser_does_not_do_is_told_and_can_be_tried_again(t) {
  const { page, key } = await beginWithPasskey(t);
  await key.send('setUserVerified', { isUserVerified: false });
  await passkeyButton(page).click();
  await page.getByText('Nothing was done').waitFor();
  await key.send('setUserVerified', { isUserVerified: true });
  await passkeyButton(page).click();
  await page.waitForURL('**/overview');
  await page.goto('/profile/passkeys/new');
  await page.getByLabel('Name, for you').fill('Twice');
  await page.getByRole('button', { name: 'Make the passkey' }).click();
  await page.getByText('has a passkey of yours already').waitFor();
}

export async function an_answer_is_good_once_for_its_browser_and_five_minutes(t) {
  const { page } = await beginWithPasskey(t);
  const first = await answer(page);
  assert.equal((await send(t, page, '/login/passkey', first)).status, 303);
  assertRefused(await send(t, page, '/login/passkey', first), USED, 'twice');
  const late = await freshAnswer(page);
  await t.server.advance(5 * MINUTE);
  assertRefused(await send(t, page, '/login/passkey', late), USED, 'too late');
  const stolen = await freshAnswer(page);
  assertRefused(await send(t, page, '/login/passkey', stolen, { cookies: '' }), USED, 'elsewhere');
  assertRefused(await send(t, page, '/login/passkey', stolen), USED, 'and it is gone');
  const mixed = { ...(await freshAnswer(page)), challenge: (await freshAnswer(page)).challenge };
  assertRefused(await send(t, page, '/login/passkey', mixed), REFUSED, 'to another challenge');
}

export async function a_page_that_stood_open_for_long_asks_anew(t) {
  const { page } = await beginWithPasskey(t);
  await page.clock.install();
  await page.goto('/login?next=%2Fteam');
  const before = await page.locator('[name=challenge]').first().inputValue();
  await t.server.advance(6 * MINUTE);
  await page.clock.fastForward(6 * MINUTE);
  const asked = page.waitForRequest(/\/login\/passkey$/);
  await passkeyButton(page).click();
  await page.waitForURL('**/team');
  const sent = new URLSearchParams((await asked).postData());
  assert.notEqual(sent.get('challenge'), before);
}

export async function an_answer_for_another_address_is_refused(t) {
  const { page } = await beginWithPasskey(t);
  const given = await freshAnswer(page);
  const headers = { host: 'localhost:1', origin: 'http://localhost:1' };
  assertRefused(await send(t, page, '/login/passkey', given, { headers }), USED, 'another port');
  const evil = await freshAnswer(page);
  const foreign = { headers: { origin: 'http://evil.example' } };
  assert.equal((await send(t, page, '/login/passkey', evil, foreign)).status, 403);
  // Asked for at one address and answered at another: the browser writes down where it was.
  const there = await t.server.send('GET', '/login', { headers: { host: 'localhost:1' } });
  const options = JSON.parse(there.text.match(/data-options="([^"]*)"/)[1].replaceAll('&#34;', '"'));
  const challenge = there.text.match(/name="challenge" value="([^"]*)"/)[1];
  const { credential } = await freshAnswer(page, { challenge: options.challenge });
  const cookies = there.setCookies[0].split(';')[0];
  const reply = await send(t, page, '/login/passkey', { challenge, credential }, { headers, cookies });
  assertRefused(reply, REFUSED, 'another origin');
}

export async function forged_answers_open_nothing(t) {
  const { page, key } = await beginWithPasskey(t);
  const [{ userHandle }] = await key.credentials();
  const refuse = async (change, what, options) => {
    const given = await freshAnswer(page, options);
    const credential = change(structuredClone(given.credential));
    assertRefused(await send(t, page, '/login/passkey', { ...given, credential }), REFUSED, what);
  };
  await refuse(() => '', 'nothing');
  await refuse(() => '{"id":[[[[', 'no JSON');
  await refuse((c) => ({ ...c, response: { ...c.response, signature: 'AAAA' } }), 'no signature');
  await refuse((c) => {
    const other = Buffer.from(userHandle, 'base64');
    other[15] ^= 1;
    return { ...c, response: { ...c.response, userHandle: other.toString('base64url') } };
  }, 'another member');
  await refuse((c) => ({ ...c, response: { ...c.response, userHandle: undefined } }), 'nobody');
  await refuse((c) => ({ ...c, id: 'AAAA', rawId: 'AAAA' }), 'an unknown passkey');
  await refuse((c) => {
    const data = Buffer.from(c.response.authenticatorData, 'base64url');
    data[36] ^= 1;
    return { ...c, response: { ...c.response, authenticatorData: data.toString('base64url') } };
  }, 'another count');
  await key.send('setUserVerified', { isUserVerified: false });
  await refuse((c) => c, 'not unlocked', { userVerification: 'discouraged' });
  await key.send('setUserVerified', { isUserVerified: true });
  for (const what of ['the ninth', 'the tenth']) await refuse(() => '{}', what);
  const reply = await send(t, page, '/login/passkey', await freshAnswer(page));
  assert.equal(reply.status, 429, 'enough');
  await t.server.advance(16 * MINUTE);
  assert.equal((await send(t, page, '/login/passkey', await freshAnswer(page))).status, 303);
}

export async function the_passkey_of_another_member_is_out_of_reach(t) {
  const page = await begin(t);
  await plug(page);
  await signIn(page);
  await addPasskey(page, 'Work laptop');
  const place = await page.getByRole('link', { name: 'Work laptop' }).getAttribute('href');
  const bob = await addBob(t);
  await plug(bob);
  assert.equal((await bob.goto(place)).status(), 404);
  for (const [verb, more] of [['name', { name: 'Mine' }], ['remove', {}]]) {
    const reply = await send(t, bob, `${place}/${verb}`, { challenge: '', credential: '' }, { more });
    assert.equal(reply.status, 404, verb);
  }
  const more = { name: 'Mine' };
  await bob.goto('/profile/passkeys/new');
  const his = await answer(bob);
  // What Bob was asked is not answered by Ada.
  assert.equal((await send(t, page, '/profile/passkeys', his, { more })).status, 409);
  assert.equal((await send(t, bob, '/profile/passkeys', his, { more })).status, 409, 'gone');
  await bob.goto('/profile/passkeys/new');
  const hers = await answer(bob);
  const garbage = { ...hers, credential: { ...hers.credential, response: {} } };
  assert.equal((await send(t, bob, '/profile/passkeys', garbage, { more })).status, 422);
  await bob.goto('/profile/passkeys/new');
  const signed = await answer(bob);
  const atLogin = await send(t, bob, '/login/passkey', signed);
  assert.equal(atLogin.status, 403, 'it is no sign-in');
  assert.equal((await trail(t, 'user.passkey_added')).length, 1);
}

export async function the_passkeys_of_suspended_and_removed_members_are_dead(t) {
  await begin(t);
  const page = await addBob(t);
  const key = await plug(page);
  await addPasskey(page, 'Phone');
  await signOut(page);
  const email = ['--email', 'bob@example.com'];
  await t.server.cliJson(['users', 'suspend', ...email]);
  assertRefused(await send(t, page, '/login/passkey', await freshAnswer(page)), REFUSED, 'suspended');
  await t.server.cliJson(['users', 'resume', ...email]);
  assert.equal((await send(t, page, '/login/passkey', await freshAnswer(page))).status, 303);
  await t.server.cliJson(['users', 'remove', ...email, '--yes']);
  assertRefused(await send(t, page, '/login/passkey', await freshAnswer(page)), REFUSED, 'removed');
  const [{ credentialId }] = await key.credentials();
  assert.ok(credentialId, 'the device has it still');
}

export async function a_copied_authenticator_is_refused_and_told(t) {
  const { page, key } = await beginWithPasskey(t);
  for (let n = 0; n < 2; n += 1) {
    assert.equal((await send(t, page, '/login/passkey', await freshAnswer(page))).status, 303);
  }
  const [credential] = await key.credentials();
  assert.ok(credential.signCount >= 3, 'it counts');
  await key.send('removeCredential', { credentialId: credential.credentialId });
  await key.send('addCredential', { credential: { ...credential, signCount: 1 } });
  await page.goto('/login');
  await passkeyButton(page).click();
  await page.getByText(REFUSED).waitFor();
  const [told] = await trail(t, 'user.passkey_refused');
  assert.equal(told.details.passkey, 'Work laptop');
  assert.match(told.details.why, /there may be a copy/);
}

export async function a_member_has_twenty_passkeys_at_most(t) {
  const page = await begin(t);
  await plug(page);
  await signIn(page);
  for (let n = 0; n < 20; n += 1) {
    await page.goto('/profile/passkeys/new');
    const given = await answer(page, { excludeCredentials: [] });
    const reply = await send(t, page, '/profile/passkeys', given, { more: { name: `Key ${n}` } });
    assert.equal(reply.status, 303, `the passkey ${n}`);
  }
  const response = await page.goto('/profile/passkeys/new');
  assert.equal(response.status(), 409);
  await page.getByText('You have 20 passkeys, which is the most').waitFor();
  await page.goto('/profile');
  assert.equal(await page.getByRole('row', { name: /Key \d/ }).count(), 20);
  await assertSound(page);
}

export async function at_an_ip_address_the_page_says_what_passkeys_need(t) {
  await begin(t);
  const page = await t.visitor({ baseURL: t.server.base });
  await page.goto('/login');
  assert.equal(await passkeyButton(page).count(), 0);
  await signIn(page);
  await page.goto('/profile');
  const link = page.getByRole('link', { name: `${t.server.named}/profile` });
  await link.waitFor();
  assert.equal((await page.goto('/profile/passkeys/new')).status(), 409);
  await page.goto('/profile');
  await assertSound(page);
  await link.click();
  await page.waitForURL(`${t.server.named}/login?next=%2Fprofile`);
}

export async function without_script_the_password_works_and_no_button_is_shown(t) {
  await begin(t);
  const page = await t.visitor({ baseURL: t.server.named, javaScriptEnabled: false });
  await page.goto('/login');
  assert.ok(await passkeyButton(page).isHidden());
  await signIn(page);
  await page.goto('/profile/passkeys/new');
  await page.getByText('This needs JavaScript').waitFor();
  assert.ok(await page.getByLabel('Name, for you').isHidden());
}
