// Sites: what each sorting centre says of itself and what its machines show now.

import {$, h, put, fill} from './dom.js';
import {age, count, decimal, digits, gramsIn, tonnes, unknown} from './measure.js';
import {siteName} from './tonnage.js';

const masses = new Set(['g', 'kg', 't']);

// by groups rows by a field.
function by(field, rows) {
  const groups = new Map();
  for (const row of rows) {
    const group = groups.get(row[field]);
    if (group) group.push(row);
    else groups.set(row[field], [row]);
  }
  return groups;
}

// machines groups the live values of a site by device and finds what each device is by what it
// measures.
function machines(values) {
  const found = new Map();
  for (const v of values) {
    if (!found.has(v.device)) found.set(v.device, {});
    found.get(v.device)[v.tag] = v;
  }
  const list = [];
  for (const [device, tags] of found) {
    if (tags.rate?.unit === 't/h') list.push({device, kind: 'belt', order: 1, value: tags.rate, state: tags.state});
    else if (tags.weight && (masses.has(tags.weight.unit) || tags.weight.unit === '')) list.push({device, kind: 'weighbridge', order: 0, value: tags.weight});
    else if (tags.state) list.push({device, kind: tags.bale_count ? 'baler' : 'machine', order: tags.bale_count ? 2 : 3, state: tags.state});
  }
  return list.sort((a, b) => a.order - b.order || a.device.localeCompare(b.device));
}

// valueText writes a value with its unit: a weight in tonnes as the whole page, a rate grouped by
// locale, a state by its word.
function valueText(v, kind, language) {
  if (v.text) return language.has('state-' + v.text) ? language.t('state-' + v.text) : v.text;
  if (v.value === '') return language.t('no-value');
  const d = decimal(v.value), grams = kind === 'weighbridge' ? gramsIn(v.value, v.unit) : null;
  if (grams !== null) return tonnes(grams, language.locale) + ' t';
  return (d ? digits(d, language.locale) : v.value) + (v.unit ? ' ' + v.unit : '');
}

export function showSites(state, language) {
  const {city, sites, values, names, link, elapsed, now} = state;
  const box = $('sites');
  if (!city) return;
  if (city.sites.length === 0) {
    fill(box, 'none ' + language.name, () => [h('p', {class: 'empty'}, language.t('sites-empty'))]);
    return;
  }
  fill(box, city.sites.map((s) => s.id).join(' '), () => city.sites.map((s) => card(s.id)));
  const known = sites ?? [];
  put($('sites-count'), sites ? language.t('sites-count', {online: count(known.filter((s) => s.online).length, language.locale), all: count(city.sites.length, language.locale)}) : '');
  const states = by('site', known), live = by('site', values ?? []);
  for (const article of box.children) {
    const id = article.dataset.site;
    showState(article, states.get(id)?.[0], {link, now, sites}, language);
    put(article.querySelector('h3'), siteName(city, id, language));
    showMachines(article, machines(live.get(id) ?? []), {link, elapsed, names: names?.[id] ?? []}, language);
  }
}

const unreceiptedAfter = 60_000; // ms online with records that wait

const facts = ['newest', 'backlog', 'records', 'version'];

function card(id) {
  return h('article', {class: 'site', 'data-site': id},
    h('div', {class: 'site-head'}, h('h3'), h('span', {class: 'pill'}, h('span', {class: 'dot', 'aria-hidden': 'true'}), h('span', {class: 'word'}))),
    h('dl', {class: 'facts'}, ...facts.map((f) => h('div', {'data-fact': f}, h('dt'), h('dd', {class: 'num'})))),
    h('p', {class: 'refused', hidden: true}),
    h('ul', {class: 'machines'}), h('p', {class: 'empty small'}));
}

function showState(article, s, {link, now, sites}, language) {
  const ago = (ms) => language.t('ago', {age: age(ms, language.locale)});
  const n = (value) => count(value, language.locale);
  const pill = article.querySelector('.pill');
  const state = !s || !s.known ? 'unknown' : s.online ? 'good' : 'bad';
  pill.dataset.state = link.up ? state : 'unknown';
  let word = language.t(state === 'good' ? 'online' : state === 'bad' ? 'offline' : 'never-heard');
  if (s?.online && s.unreceipted_ms >= unreceiptedAfter) {
    word = language.t('unreceipted', {age: age(s.unreceipted_ms, language.locale)});
    pill.dataset.state = link.up ? 'bad' : 'unknown';
  }
  if (state === 'bad') word += ' · ' + language.t('silent-for', {age: age(s.silent_ms, language.locale)});
  put(pill.querySelector('.word'), sites ? word : unknown);
  article.classList.toggle('stale', !link.up || state !== 'good');
  const texts = {newest: unknown, backlog: unknown, records: unknown, version: unknown};
  if (s) {
    texts.newest = s.newest_ms ? ago(now - s.newest_ms) : language.t('newest-none');
    texts.records = n(s.records);
    texts.backlog = !s.known ? language.t('backlog-unknown') : s.oldest_ms > 0 && s.backlog > 0
      ? language.t('backlog-since', {n: n(s.backlog), age: age(now - s.oldest_ms, language.locale)})
      : language.t('backlog-of', {n: n(s.backlog)});
    texts.version = language.version(s.version) || unknown;
  }
  for (const fact of facts) {
    const div = article.querySelector(`[data-fact=${fact}]`);
    put(div.firstChild, language.t(fact));
    put(div.lastChild, texts[fact]);
  }
  const refused = article.querySelector('.refused');
  const trouble = [];
  if (s?.alarms > 0) trouble.push(language.t('alarms', {n: n(s.alarms)}));
  if (s?.suspects > 0) trouble.push(language.t('suspects', {n: n(s.suspects)}));
  if (s?.refused > 0) trouble.push(language.t('refused', {n: n(s.refused)}));
  refused.hidden = trouble.length === 0;
  put(refused, trouble.join(' · '));
}

function showMachines(article, list, {link, elapsed, names}, language) {
  const ul = article.querySelector('.machines'), empty = article.querySelector('.empty');
  empty.hidden = list.length > 0;
  put(empty, list.length > 0 ? '' : language.t('lines-empty'));
  fill(ul, list.map((m) => m.kind + ' ' + m.device).join(','), () => list.map((m) => h('li', {'data-device': m.device},
    h('span', {class: 'kind'}), ' ', h('code', {}, m.device), h('span', {class: 'value num'}), h('span', {class: 'note'}))));
  list.forEach((m, i) => {
    const li = ul.children[i], shown = m.value ?? m.state;
    const live = link.up && shown.live;
    li.classList.toggle('stale', !live);
    li.dataset.state = live && m.state?.live ? m.state.text : '';
    put(li.querySelector('.kind'), language.named(names.find((n) => n.device === m.device) ?? {}, language.t('device-' + m.kind)));
    put(li.querySelector('.value'), valueText(shown, m.kind, language));
    const note = live ? (m.value && m.state?.live ? valueText(m.state, m.kind, language) : '')
      : language.t('as-of', {age: age(shown.age_ms + elapsed, language.locale)});
    put(li.querySelector('.note'), note);
  });
}
