// Takes pictures of the pages, for people to look at: target/screenshots.
//
// Each page of the list wide by light and by dark, and narrow by light, from top to bottom. Fails
// if a page is not answered with 200 or does what no page may. Started by `make screenshots`.

import { mkdirSync, rmSync } from 'node:fs';

import { NARROW, Test, WIDE, as, folder, say, startBrowser } from './lib.mjs';

/** What is taken: the name of the picture, the path, and who is signed in (null: nobody). */
const PAGES = [
  { name: 'errors', path: '/errors', who: null },
  { name: 'error', path: '/errors/AUTH_002', who: null },
];

const LOOKS = [
  { look: 'wide-light', viewport: WIDE, colorScheme: 'light' },
  { look: 'wide-dark', viewport: WIDE, colorScheme: 'dark' },
  { look: 'narrow-light', viewport: NARROW, colorScheme: 'light' },
];

const pictures = folder('screenshots/');
rmSync(pictures, { recursive: true, force: true });
mkdirSync(pictures, { recursive: true });
const browser = await startBrowser();
const t = await Test.begin(browser);
/** The page of each visitor who was needed so far. */
const visitors = new Map();
for (const { name, path, who } of PAGES) {
  if (!visitors.has(who)) visitors.set(who, await as(t, who));
  const page = visitors.get(who);
  for (const { look, viewport, colorScheme } of LOOKS) {
    await page.setViewportSize(viewport);
    await page.emulateMedia({ colorScheme });
    const response = await page.goto(path);
    if (response.status() !== 200) throw new Error(`${path} is answered with ${response.status()}`);
    await page.screenshot({ path: `${pictures}${name}-${look}.png`, fullPage: true });
  }
}
const complaints = await t.complaints();
await t.end();
await browser.close();
if (complaints.length > 0) throw new Error(complaints.join('\n'));
say(`${PAGES.length * LOOKS.length} pictures of ${PAGES.length} pages are in ${pictures}`);
process.exit(0);
