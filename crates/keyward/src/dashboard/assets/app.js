// Small comforts. Every page works without them.

// Times: the reader's zone, the exact one on hover.
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });
for (const element of document.querySelectorAll('time[datetime]')) {
  const at = new Date(element.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  element.title = `${at.toLocaleString(undefined, { dateStyle: 'full', timeStyle: 'long' })} · ${element.dateTime}`;
  if ('ago' in element.dataset) continue;
  element.textContent =
    'day' in element.dataset
      ? at.toLocaleDateString(undefined, { dateStyle: 'medium' })
      : at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

// On a phone the menu is wider than the screen: one sees where one is.
document.querySelector('.menu a[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });

// Copy buttons. What is copied stands on the page; nothing is kept.
for (const button of document.querySelectorAll('button[data-copy]')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const source = document.getElementById(button.dataset.copy);
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = 'Press Ctrl+C';
    }
    setTimeout(() => { button.textContent = said; }, 2000);
  });
}

// A file made here, from what stands on the page.
for (const link of document.querySelectorAll('a[data-download]')) {
  link.hidden = false;
  const source = document.getElementById(link.dataset.download);
  link.addEventListener('click', () => {
    link.href = `data:text/plain;charset=utf-8,${encodeURIComponent(`${source.textContent.trim()}\n`)}`;
    setTimeout(() => { link.href = '#'; }, 0);
  });
}

// A page that shows a secret once: reloading goes on elsewhere, and going back finds nothing.
const once = document.querySelector('[data-once]');
if (once) {
  history.replaceState(null, '', once.dataset.once);
  const forget = () => { for (const element of document.querySelectorAll('[data-secret]')) element.textContent = ''; };
  addEventListener('pagehide', forget);
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
}

// What belongs to a choice is there only while it is chosen.
const settle = () => {
  for (const part of document.querySelectorAll('[data-when]')) {
    const [name, value] = part.dataset.when.split('=');
    const chosen = document.querySelector(`input[name="${name}"]:checked`);
    part.hidden = !(chosen && chosen.value === value);
  }
};
document.addEventListener('change', settle);
settle();

// A button that cannot be undone waits for the name.
for (const input of document.querySelectorAll('input[data-expect]')) {
  const button = input.form.querySelector('button[data-armed]');
  const arm = () => { button.disabled = input.value.trim() !== input.dataset.expect; };
  input.addEventListener('input', arm);
  arm();
}

// One click is one change.
for (const form of document.querySelectorAll('form[method="post"]')) {
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = 'yes';
    addEventListener('pageshow', () => { delete form.dataset.sent; }, { once: true });
  });
}
