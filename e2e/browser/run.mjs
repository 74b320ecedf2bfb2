// Runs every test in tests/*.mjs, each with a server and a browser context of its own.
//
// A test is an exported async function; its name is a sentence. It gets a `Test` of lib.mjs and
// fails if it throws, or if a page did what no page may: an error in the console or a script, a
// violation of the policy, an answer 500, a request to a foreign host. Started by
// `cargo test -p keyward --features outside --test browser`.

import { readdirSync, rmSync } from 'node:fs';

import { Test, folder, say, startBrowser } from './lib.mjs';

const only = process.env.KEYWARD_ONLY ?? '';

/** All tests, in order, as `{ file, name, run }`. */
async function listTests() {
  const tests = [];
  const files = readdirSync(new URL('tests/', import.meta.url));
  for (const file of files.filter((name) => name.endsWith('.mjs')).sort()) {
    const exported = Object.entries(await import(`./tests/${file}`));
    if (exported.length === 0) throw new Error(`${file} exports no test`);
    for (const [name, run] of exported) {
      const isTest = run?.constructor?.name === 'AsyncFunction';
      if (!isTest) throw new Error(`${file} exports ${name}, which is no async function`);
      tests.push({ file, name, run });
    }
  }
  return tests.filter(({ file, name }) => `${file} ${name}`.includes(only));
}

/** What is wrong with the test, or nothing if it passes. */
async function faultOf(browser, { file, name, run }) {
  const started = performance.now();
  const tell = (word) =>
    say(`${word} ${file} ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  const t = await Test.begin(browser);
  try {
    await run(t);
    const complaints = await t.complaints();
    if (complaints.length > 0) throw new Error(complaints.join('\n'));
    tell('ok    ');
    return null;
  } catch (error) {
    tell('FAILED');
    const fault = `       ${(error.stack ?? String(error)).replaceAll('\n', '\n       ')}`;
    say(fault);
    // A page may be gone by now. What is kept of it must not hide why the test failed.
    await t.keep(name).catch((keeping) => say(`       nothing more is kept: ${keeping.message}`));
    return `FAILED ${file} ${name}\n${fault}`;
  } finally {
    await t.end();
  }
}

rmSync(folder('e2e/browser/failures'), { recursive: true, force: true });
const tests = await listTests();
if (tests.length === 0) throw new Error(`no test has '${only}' in its name`);
const browser = await startBrowser();
const faults = [];
for (const test of tests) {
  const fault = await faultOf(browser, test);
  if (fault !== null) faults.push(fault);
}
await browser.close();
// Said again at the end, where somebody who sees only the end of a long log finds it.
say(`\n${tests.length - faults.length} passed, ${faults.length} failed`);
for (const fault of faults) say(`\n${fault}`);
process.exit(faults.length === 0 ? 0 : 1);
