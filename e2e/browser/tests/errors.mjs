// The pages about error codes.

import assert from 'node:assert/strict';

import { assertSound } from '../lib.mjs';

export async function the_list_of_error_codes_is_for_everybody({ page }) {
  const response = await page.goto('/errors');
  assert.equal(response.status(), 200);
  await page.getByRole('heading', { name: 'Error codes', level: 1 }).waitFor();
  await assertSound(page);
}

export async function the_page_of_every_error_code_is_for_everybody({ page }) {
  await page.goto('/errors');
  const links = page.locator('dt a');
  const codes = await links.allInnerTexts();
  assert.ok(codes.length >= 40, `there are ${codes.length}`);
  for (const code of codes) {
    const response = await page.goto(`/errors/${code}`);
    assert.equal(response.status(), 200);
    assert.ok((await page.title()).startsWith(`${code}: `));
    await assertSound(page);
  }
}

export async function a_code_that_does_not_exist_leads_to_the_list({ page }) {
  const response = await page.goto('/errors/NOTHING_001');
  assert.equal(response.status(), 404);
  await assertSound(page);
  await page.getByRole('link', { name: 'AUTH_001' }).click();
  await page.getByRole('heading', { name: 'User is not authenticated' }).waitFor();
}
