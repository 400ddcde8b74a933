// Language: one dictionary for the whole page, Chinese first, switched by the reader and remembered.

const locales = {zh: 'zh-CN', en: 'en-GB'};
const remembered = 'steelyard.language';

// keep and recall work where a browser forbids storage: then nothing is remembered.
export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch { /* forbidden or full: the page works without */ }
}

// spoken is the first of the reader's languages, in the browser's own order, that the pages have.
function spoken() {
  return (navigator.languages ?? []).map((l) => l.slice(0, 2).toLowerCase()).find((l) => l in locales);
}

export class Language {
  constructor(words) {
    this.words = words;
    this.name = recall(remembered) ?? spoken();
    if (!(this.name in locales)) this.name = 'zh';
  }

  get locale() {
    return locales[this.name];
  }

  has(key) {
    return key in this.words[this.name];
  }

  // t gives the text of a key; "{name}" in it is replaced by a value.
  t(key, values = {}) {
    const text = this.words[this.name][key];
    if (text === undefined) {
      console.error('no text for ' + key);
      return key;
    }
    return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
  }

  // named gives what people call a machine or a site in this language; otherwise, where it has no name.
  named({name, english}, otherwise = '') {
    return (this.name === 'en' && english) || name || otherwise;
  }

  // version names a build: a release by its own name, what was built from a working tree in words and
  // with its revision.
  version(name) {
    const tree = /^(?:devel$|v0\.0\.0-\d{14}-)([0-9a-f]{0,7})/.exec(name);
    return tree ? (this.t('version-devel') + ' ' + tree[1]).trim() : name;
  }

  switch() {
    this.name = this.name === 'zh' ? 'en' : 'zh';
    keep(remembered, this.name);
  }

  // apply writes the fixed texts of the document: data-t is the content, data-t-label the
  // accessible name, data-t-hint the placeholder.
  apply() {
    document.documentElement.lang = this.locale;
    document.title = this.t('title');
    for (const e of document.querySelectorAll('[data-t]')) e.textContent = this.t(e.dataset.t);
    for (const e of document.querySelectorAll('[data-t-label]')) e.setAttribute('aria-label', this.t(e.dataset.tLabel));
    for (const e of document.querySelectorAll('[data-t-hint]')) e.placeholder = this.t(e.dataset.tHint);
  }
}
