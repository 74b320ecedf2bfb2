// What the browser's tests share: the server that they hold, visitors, and checks of a page.
//
// The server is held by whoever started this script. A command is a line on stdout, its answer a
// line on stdin; crates/keyward/tests/support/script.rs has the list. All else goes to stderr.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const target = new URL('../../target/', import.meta.url);
const require = createRequire(new URL('e2e/browser/package.json', target));
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 390, height: 844 };

/** What is left for people to look at: a folder below `target`. */
export function folder(name) {
  return fileURLToPath(new URL(name, target));
}

/** Tells people something. */
export function say(text) {
  process.stderr.write(`${text}\n`);
}

// The server

// Answers come in the order of the commands, so the first one waiting gets the next line.
const waiting = [];
const answers = createInterface({ input: process.stdin });
answers.on('line', (line) => waiting.shift().resolve(JSON.parse(line)));
answers.on('close', () => {
  for (const { reject } of waiting) reject(new Error('the harness has ended'));
});
console.log = console.error;

function ask(command, argument = null) {
  return new Promise((resolve, reject) => {
    waiting.push({ resolve, reject });
    process.stdout.write(`${command} ${JSON.stringify(argument)}\n`);
  });
}

/** The server under test. Every test begins with one of its own, without any account. */
export const server = {
  /** Its address, such as http://127.0.0.1:40000. */
  base: '',

  /** Whether it was stopped and started again, and so refused connections for a moment. */
  hasPaused: false,

  /** The same server by the name of this machine: passkeys know no IP addresses. */
  get named() {
    return this.base.replace('127.0.0.1', 'localhost');
  },

  /**
   * Puts a new and empty server in place of this one. Its clock stands at 2024-01-01T00:00:00Z, or
   * at the Unix millisecond `begin`: `Date.now()` for a test that needs the same time as `cli`.
   * Who looked at the last one stays there; `t.visitor()` makes somebody who looks at this one.
   */
  async fresh({ begin = null } = {}) {
    this.hasPaused = false;
    this.base = (await ask('fresh', { begin })).base;
  },

  /** Stops the server and starts it again, on the same data and port. */
  restart() {
    this.hasPaused = true;
    return ask('restart');
  },

  /** Moves the server's clock. The browser's own does not move. */
  advance: (millis) => ask('advance', millis),

  /** Runs `keyward` with these arguments on the server's data. Gives `code`, `out` and `err`. */
  cli: (commandLine, { stdin = '' } = {}) => ask('cli', { arguments: commandLine, stdin }),

  /** Runs a command that must succeed, with `--json`, and gives what it printed. */
  async cliJson(commandLine, options) {
    const ended = await this.cli([...commandLine, '--json'], options);
    assert.equal(ended.code, 0, `keyward ${commandLine.join(' ')}: ${ended.err}`);
    return JSON.parse(ended.out);
  },

  /** Everything that was logged, up to the last answer. */
  log: () => ask('log'),

  /** Writes down the usage and the requests of so far, and raises and ends alerts. */
  flush: () => ask('flush'),

  /** The path of a link with which the first account is made. */
  setupLink: () => ask('setup-link'),

  /** The files of the data folder in which this text is. */
  dbGrep: (text) => ask('db-grep', text),

  /** Sends a request past the browser, with the headers that are given here and no others. */
  send(method, path, { headers = {}, cookies = '', body = null, form = null, json = null } = {}) {
    const sent = { connection: 'close', ...headers };
    if (cookies) sent.cookie = cookies;
    if (form !== null) {
      body = new URLSearchParams(form).toString();
      sent['content-type'] ??= 'application/x-www-form-urlencoded';
    } else if (json !== null) {
      body = JSON.stringify(json);
      sent['content-type'] ??= 'application/json';
    }
    if (body !== null) sent['content-length'] = Buffer.byteLength(body);
    return new Promise((resolve, reject) => {
      const request = http.request(new URL(path, this.base), { method, headers: sent });
      request.on('error', reject);
      request.on('response', async (response) => {
        response.setEncoding('utf8');
        let text = '';
        for await (const part of response) text += part;
        const { statusCode: status, headers: got } = response;
        resolve({ status, headers: got, setCookies: got['set-cookie'] ?? [], text });
      });
      request.end(body ?? undefined);
    });
  },
};

// The browser

/** Starts the browser. It reaches this machine and nothing else. */
export function startBrowser() {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
      '--no-proxy-server',
    ],
  });
}

/** What a test gets: `t.page` to look at, `t.server`, further visitors, and what to complain of. */
export class Test {
  server = server;
  #browser;
  #visitors = [];
  #complaints = [];
  #foreseen = [];

  constructor(browser) {
    this.#browser = browser;
  }

  /** Begins with a server of its own and one visitor, who is not signed in. */
  static async begin(browser) {
    await server.fresh();
    const t = new Test(browser);
    t.page = await t.visitor();
    return t;
  }

  /** The page of somebody else, with cookies of their own. Options are those of `newContext`. */
  async visitor(options = {}) {
    const context = await this.#browser.newContext({
      baseURL: server.base,
      colorScheme: 'light',
      locale: 'en-GB',
      reducedMotion: 'reduce',
      timezoneId: 'UTC',
      viewport: WIDE,
      ...options,
    });
    this.#visitors.push(context);
    this.#watch(context);
    return context.newPage();
  }

  /** Hears of everything that no page may do, whatever the test looks at. */
  #watch(context) {
    const complain = (text) => this.#complaints.push(text);
    // What a navigation is answered with is the test's affair; the browser logs a 403 as an error.
    const visited = new Set();
    context.on('request', (request) => {
      const url = new URL(request.url());
      if (request.isNavigationRequest()) visited.add(request.url());
      const isInPage = ['about:', 'blob:', 'data:'].includes(url.protocol);
      if ([server.base, server.named].includes(url.origin) || isInPage) return;
      complain(`a request to a foreign host: ${request.method()} ${url}`);
    });
    context.on('response', (response) => {
      if (response.status() >= 500) complain(`an answer ${response.status()}: ${response.url()}`);
    });
    context.on('console', (message) => {
      const isAnswer = message.text().startsWith('Failed to load resource: the server responded');
      if (message.type() !== 'error' || (isAnswer && visited.has(message.location().url))) return;
      // The browser fetches a page's icon when it likes, and so maybe from a server that restarts.
      const isPause = server.hasPaused && message.text().includes('net::ERR_CONNECTION_');
      if (isPause && message.location().url.endsWith('/assets/icon.svg')) return;
      complain(`an error in the console: ${message.text()} ${message.location().url}`);
    });
    context.on('weberror', (error) => complain(`an error in a script: ${error.error().message}`));
  }

  /** Says that a complaint with these words will come. The test fails if it does not. */
  foresee(words) {
    this.#foreseen.push(words);
  }

  /** What is to be complained of so far, after everything that the pages did. */
  async complaints() {
    for (const context of this.#visitors) {
      // What a page did is told in order, so whatever came before this answer has been heard of.
      await Promise.all(context.pages().map((page) => page.evaluate('0')));
    }
    const isForeseen = (complaint) => this.#foreseen.some((words) => complaint.includes(words));
    const hasCome = (words) => this.#complaints.some((complaint) => complaint.includes(words));
    const missed = this.#foreseen.filter((words) => !hasCome(words));
    return [
      ...this.#complaints.filter((complaint) => !isForeseen(complaint)),
      ...missed.map((words) => `it never came: ${words}`),
    ];
  }

  /** Keeps what a failed test left: each page as a picture and as HTML, and the server's log. */
  async keep(name) {
    const kept = folder('e2e/browser/failures/');
    mkdirSync(kept, { recursive: true });
    writeFileSync(`${kept}${name}.log`, await server.log());
    const pages = this.#visitors.flatMap((context) => context.pages());
    for (const [index, page] of pages.entries()) {
      const path = `${kept}${name}${index === 0 ? '' : `-${index + 1}`}`;
      writeFileSync(`${path}.html`, await page.content());
      await page.screenshot({ path: `${path}.png`, fullPage: true });
    }
    say(`       kept: ${kept}${name}.*`);
  }

  /** Closes what was opened. */
  async end() {
    await Promise.all(this.#visitors.map((context) => context.close()));
  }
}

// Visitors

/** The cookies that a page's visitor has, as a request carries them. */
export async function cookiesOf(page) {
  const cookies = await page.context().cookies();
  return cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
}

export const PASSWORD = 'correct horse battery staple';
const NAMES = { owner: 'Ada Lovelace', admin: 'Grace Hopper', developer: 'Linus Pauling', billing: 'Emmy Noether' };

/** Signs in on the page where one signs in. */
export async function signIn(page, email, password = PASSWORD) {
  await page.goto('/login');
  await page.getByLabel('E-mail address').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

/** Makes the account with its owner, on the command line. */
async function setUp() {
  const { out } = await server.cli(['users', 'list', '--json']);
  if (out.includes('owner@example.com')) return;
  const ended = await server.cli(
    ['setup', '--account', 'Acme', '--owner-name', NAMES.owner, '--owner-email', 'owner@example.com', '--password-stdin'],
    { stdin: `${PASSWORD}\n` },
  );
  assert.equal(ended.code, 0, ended.err);
}

/**
 * The page of a visitor who is signed in as `who`: owner, admin, developer or billing; null is a
 * visitor who is not signed in. Members are `owner@example.com` and so on.
 */
export async function as(t, who, options = {}) {
  const page = await t.visitor(options);
  if (who === null) return page;
  await setUp();
  const email = `${who}@example.com`;
  const members = await server.cliJson(['users', 'list']);
  if (!members.some((member) => member.email === email)) {
    const invited = await server.cliJson(['users', 'invite', '--name', NAMES[who], '--email', email, '--role', who]);
    await page.goto(new URL(invited.url).pathname);
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Join' }).click();
  } else {
    await signIn(page, email);
  }
  await page.waitForURL('**/overview');
  return page;
}

/** Generates a key on its page, from where the list of keys is. Gives the key and its identifier. */
export async function generate(page, name, { environment = 'Production', access = null, expiry = null } = {}) {
  await page.goto('/keys/new');
  await page.getByLabel('Name').fill(name);
  await page.getByRole('radio', { name: environment }).check();
  if (access) await page.getByRole('radio', { name: access }).check();
  if (expiry) await page.getByRole('radio', { name: expiry }).check();
  await page.getByRole('button', { name: 'Generate New API Key' }).click();
  await page.getByRole('heading', { name: 'Your new API key' }).waitFor();
  const key = await page.locator('#key').innerText();
  const link = await page.getByRole('link', { name: 'I have copied it' }).getAttribute('href');
  return { key, id: link.split('/').pop() };
}

// Checks

/** Fails unless everybody can use the page, by light and by dark. */
export async function assertAccessible(page) {
  const found = [];
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    // The policy of a page lets no script in but its own; what a debugger runs is exempt.
    if (await page.evaluate('window.axe === undefined')) await page.evaluate(AXE);
    const { violations } = await page.evaluate(() =>
      window.axe.run(document, { preload: false, resultTypes: ['violations'] }),
    );
    for (const { id, impact, help, nodes } of violations) {
      if (!['serious', 'critical'].includes(impact)) continue;
      for (const node of nodes) {
        const where = `  ${node.html}\n  ${node.failureSummary}`;
        found.push(`${colorScheme}: ${impact}: ${id}: ${help}\n${where}`);
      }
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  assert.deepEqual(found, [], `${page.url()} is not for everybody:\n${found.join('\n')}`);
}

/** Fails if a phone would have to scroll the page sideways. */
export async function assertFitsPhone(page) {
  const before = page.viewportSize();
  await page.setViewportSize(NARROW);
  const { width, wide } = await page.evaluate(() => {
    const { clientWidth, scrollWidth } = document.documentElement;
    const isTooWide = (element) => element.getBoundingClientRect().right > clientWidth + 0.5;
    const wide = [...document.body.querySelectorAll('*')].filter(isTooWide);
    return { width: scrollWidth, wide: wide.map((element) => element.outerHTML.slice(0, 120)) };
  });
  await page.setViewportSize(before);
  const why = `${page.url()} is ${width} wide on a screen of ${NARROW.width}:\n${wide.join('\n')}`;
  assert.ok(width <= NARROW.width, why);
}

/** All checks that hold for every page. */
export async function assertSound(page) {
  await assertAccessible(page);
  await assertFitsPhone(page);
}
