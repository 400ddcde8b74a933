// Tonnage: today's masses per category and flow, and the four cards above them.

import {$, h, put, fill, choices} from './dom.js';
import {aligned, count, tonnes, unknown} from './measure.js';

export const flows = ['collected', 'sorted', 'recycled', 'residue', 'transfer'];

// category gives the name of a category; an unknown code is shown as it is.
export function category(city, code, language) {
  const known = city?.categories.find((c) => c.code === code);
  return known ? known[language.name] : code;
}

export function siteName(city, id, language) {
  if (city) city.named ??= new Map(city.sites.map((s) => [s.id, s]));
  const known = city?.named.get(id);
  return known ? language.named(known, id) : id;
}

// summed adds masses of one flow; masses of different flows never meet.
function summed(totals, flow) {
  const rows = totals.filter((r) => r.flow === flow);
  return {grams: rows.reduce((all, r) => all + BigInt(r.grams), 0n), count: rows.reduce((all, r) => all + r.count, 0)};
}

export function showCards({totals, link, provisional}, language) {
  for (const card of document.querySelectorAll('.card[data-flow]')) {
    const number = card.querySelector('b'), unit = card.querySelector('.unit'), sub = card.querySelector('.sub');
    number.classList.toggle('stale', !totals || !link.up);
    card.classList.toggle('provisional', Boolean(totals) && provisional);
    if (!totals) {
      put(number, unknown);
      put(unit, '');
      put(sub, language.t('tonnage-waiting'));
      continue;
    }
    const {grams, count: n} = summed(totals.totals, card.dataset.flow);
    put(number, n === 0 ? unknown : tonnes(grams, language.locale));
    put(unit, n === 0 ? '' : 't');
    put(sub, n === 0 ? language.t('entries-none') : language.t('entries', {n: count(n, language.locale)}));
  }
}

export function showLoads({hour, link}, language) {
  const number = $('loads').querySelector('b');
  number.classList.toggle('stale', !hour || !link.up);
  // What crossed a weighbridge: bales are no lorries.
  put(number, hour ? count(hour.filter((r) => r.flow !== 'sorted').reduce((all, r) => all + r.count, 0), language.locale) : unknown);
}

export function showTable({city, totals: newest, link, flow, site}, language) {
  const totals = city ? newest : null; // without the city's names there are only codes
  choices($('flow'), flows.map((f) => [f, language.t('flow-' + f)]));
  choices($('site'), [['', language.t('all-sites')], ...(city?.sites ?? []).map((s) => [s.id, siteName(city, s.id, language)])]);
  const table = $('table');
  table.dataset.chosen = flow;
  table.classList.toggle('stale', !totals || !link.up);
  const rows = (totals?.totals ?? []).filter((r) => site === '' || r.site === site);
  const empty = $('tonnage-empty');
  empty.hidden = rows.length > 0;
  put(empty, language.t(totals ? 'tonnage-empty' : 'tonnage-waiting'));
  const codes = [...new Set([...(city?.categories ?? []).map((c) => c.code), ...rows.map((r) => r.category)])];
  const key = JSON.stringify([language.name, codes.map((c) => category(city, c, language)), totals ? rows : null]);
  const most = Object.fromEntries(flows.map((f) => [f, codes.reduce((m, c) => {
    const {grams} = summed(rows.filter((r) => r.category === c), f);
    return grams > m ? grams : m;
  }, 0n)]));
  // Columns are made one by one: the points of a column stand below each other.
  const columns = flows.map((f) => {
    const sums = [...codes.map((c) => summed(rows.filter((r) => r.category === c), f)), summed(rows, f)];
    const texts = aligned(sums.map(({grams, count: n}) => n === 0 ? '' : tonnes(grams, language.locale)));
    return sums.map((s, i) => () => cell(s, texts[i], i < codes.length ? most[f] : 0n, f, language));
  });
  fill(table.tBodies[0], key, () => codes.map((code, i) => h('tr', {'data-category': code},
    h('th', {scope: 'row'}, category(city, code, language)), ...columns.map((c) => c[i]()))));
  fill(table.tFoot, key, () => [h('tr', {}, h('th', {scope: 'row'}, language.t('total')), ...columns.map((c) => c[codes.length]()))]);
}

// cell shows one sum of tonnes with a bar against the largest of its column, or a dash where nothing
// was posted.
function cell({grams, count: n}, text, most, flow, language) {
  if (n === 0) return h('td', {'data-flow': flow, class: 'none'}, unknown);
  const td = h('td', {'data-flow': flow, class: 'num'}, text);
  if (most > 0n && grams > 0n) {
    const bar = h('i', {class: 'bar', 'aria-hidden': 'true'});
    bar.style.width = Math.max(1, Number(grams * 1000n / most) / 10) + '%';
    td.append(bar);
  }
  return td;
}

