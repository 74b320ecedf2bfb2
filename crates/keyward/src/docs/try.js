// Makes the forms of the reference send their call, and shows the answer as text.
//
// The key is read from its field when a call is sent and kept nowhere else: not in a cookie, not in
// storage, not in an address. Without this file the page reads as well; its buttons are off.

const key = document.getElementById('key');

function requestOf(form) {
  const headers = new Headers({ accept: 'application/json' });
  const query = new URLSearchParams();
  let path = form.dataset.path;
  let body;
  for (const field of form.querySelectorAll('[data-in]')) {
    const value = field.value.trim();
    if (value === '') continue;
    if (field.dataset.in === 'path') {
      path = path.replace(`{${field.name}}`, () => encodeURIComponent(value));
    } else if (field.dataset.in === 'query') {
      query.set(field.name, value);
    } else if (field.dataset.in === 'header') {
      headers.set(field.name, value);
    } else {
      headers.set('content-type', 'application/json');
      body = value;
    }
  }
  const secret = key.value.trim();
  if ('key' in form.dataset && secret !== '') headers.set('x-api-key', secret);
  const search = query.toString();
  const url = search === '' ? path : `${path}?${search}`;
  const options = { method: form.dataset.method, headers, body, mode: 'same-origin' };
  return [url, { ...options, credentials: 'omit', cache: 'no-store', redirect: 'error' }];
}

function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function send(form) {
  const button = form.querySelector('button');
  const status = form.querySelector('[role=status]');
  const reply = form.querySelector('.reply');
  button.disabled = true;
  status.textContent = 'Sending';
  try {
    const started = performance.now();
    const answer = await fetch(...requestOf(form));
    const text = await answer.text();
    const millis = Math.round(performance.now() - started);
    const headers = Array.from(answer.headers, ([name, value]) => `${name}: ${value}`);
    const first = `${answer.status} ${answer.statusText}`;
    reply.textContent = [first, ...headers, '', readable(text)].join('\n').trimEnd();
    status.textContent = `Answered ${first} after ${millis} ms`;
  } catch (error) {
    reply.textContent = String(error);
    status.textContent = 'Not sent: the value of a field is not allowed there, or the server is away';
  }
  reply.hidden = false;
  button.disabled = false;
}

for (const form of document.querySelectorAll('form[data-path]')) {
  form.querySelector('button').disabled = false;
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void send(form);
  });
}
