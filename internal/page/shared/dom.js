// Small words for the document. Texts are set as text and never as markup: what comes from a site
// can't become part of the page's code.

export const $ = (id) => document.getElementById(id);

// h makes an element: h('td', {class: 'num', 'data-flow': 'sorted'}, 'text', child, …).
export function h(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) e.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) e.setAttribute(key, value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

// put writes a text if it differs, so that a reader's selection and screen reader are left alone.
export function put(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// fill replaces the children if the key of what they show differs from the last one. Who has come to
// one of them by keyboard stays on the one with the same data.
export function fill(e, key, make) {
  if (e.dataset.shows === key) return;
  e.dataset.shows = key;
  const data = (x) => JSON.stringify(x.dataset);
  const held = e.contains(document.activeElement) ? data(document.activeElement) : '{}';
  e.replaceChildren(...make());
  if (held !== '{}') [...e.querySelectorAll('[tabindex], a, button, input, select')].find((x) => data(x) === held)?.focus();
}

// choices fills a select and keeps what was chosen, if it is still there.
export function choices(select, options) {
  const chosen = select.value;
  fill(select, JSON.stringify(options), () => options.map(([value, text]) => h('option', {value}, text)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}
