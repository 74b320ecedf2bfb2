// Passkeys: asks the browser, puts what it answers into the hidden field of the form, and sends that.
// Without this script, or in a browser that knows no passkeys, the form stays hidden.

const Key = window.PublicKeyCredential;
const knows = Key?.parseCreationOptionsFromJSON && Key.parseRequestOptionsFromJSON && Key.prototype.toJSON;
const form = document.querySelector('form[data-passkey]');
const told = form.querySelector('[role="alert"]');
const isNew = form.dataset.passkey === 'create';
// What the page was given is too old after five minutes.
const FRESH_MILLIS = 4 * 60_000;
let waiting = null;

const ask = async (mediation) => {
  waiting?.abort();
  waiting = new AbortController();
  const { signal } = waiting;
  const options = JSON.parse(form.dataset.options);
  const credential = isNew
    ? await navigator.credentials.create({ publicKey: Key.parseCreationOptionsFromJSON(options), signal })
    : await navigator.credentials.get({ publicKey: Key.parseRequestOptionsFromJSON(options), signal, mediation });
  form.elements.credential.value = JSON.stringify(credential);
  form.submit();
};

// A sign-in page may stand open for long: what to ask is then fetched again.
const renew = async () => {
  const text = await (await fetch('/login')).text();
  const fresh = new DOMParser().parseFromString(text, 'text/html').querySelector('form[data-passkey]');
  if (!fresh) { location.assign('/login'); return; }
  form.dataset.options = fresh.dataset.options;
  form.elements.challenge.value = fresh.elements.challenge.value;
};

const sentence = (error) => {
  if (error.name === 'InvalidStateError') return 'This device or security key has a passkey of yours already.';
  if (error.name === 'NotAllowedError') return 'Nothing was done: it was cancelled, or took too long. Try once more.';
  return `The browser could not do it (${error.name}). Try once more, or with another device.`;
};

const press = async (event) => {
  // One click is one request: app.js has stopped the second.
  if (event.defaultPrevented) return;
  event.preventDefault();
  told.textContent = '';
  try {
    if (!isNew && performance.now() > FRESH_MILLIS) await renew();
    await ask(undefined);
  } catch (error) {
    told.textContent = sentence(error);
    delete form.dataset.sent;
  }
};

if (knows) {
  form.hidden = false;
  document.querySelector('[data-passkey-missing]')?.remove();
  form.addEventListener('submit', press);
  addEventListener('pageshow', () => { form.elements.credential.value = ''; });
  // Offered with the names that the browser fills in, where it can.
  if ('offered' in form.dataset && (await Key.isConditionalMediationAvailable?.()) && !waiting) {
    ask('conditional').catch(() => {});
  }
}
