// Lists: the lorries on the site, the latest tickets, and the state of the recording below them.

import {$, h, put, fill} from './dom.js';
import {age, aligned, count, dateTime, hourMinute, kilograms, unknown} from './measure.js';
import {materialName} from './act.js';

export function showPassages({passages, materials, now, up}, chosen, choose, language) {
  const list = passages ?? [];
  put($('open-count'), passages ? language.t('open-count', {n: count(list.length, language.locale)}) : '');
  $('open-empty').hidden = !passages || list.length > 0;
  $('open').classList.toggle('stale', !up);
  const key = JSON.stringify([language.name, materials.length, list.map((p) => p.passage)]);
  const masses = aligned(list.map((p) => p.weighing ? kilograms(p.weighing.mass, language.locale) : unknown));
  fill($('open'), key, () => list.map((p, i) => {
    const button = h('button', {type: 'button', class: 'row', 'data-passage': p.passage},
      h('b', {class: 'plate'}, p.vehicle),
      mass(language.t(p.direction === 'outbound' ? 'tare' : 'gross'), masses[i]),
      h('span', {class: 'what'}, language.t('direction-' + p.direction) + ' · ' + materialName(materials, p.material, language)),
      h('span', {class: 'since'}),
      stored(p.weighing?.alibi ? [p.weighing.alibi] : [], language));
    button.addEventListener('click', () => choose(p.passage));
    return h('li', {}, button);
  }));
  list.forEach((p, i) => {
    const button = $('open').children[i].firstChild;
    button.setAttribute('aria-pressed', String(p.passage === chosen));
    put(button.querySelector('.since'), language.t('since', {time: hourMinute(p.at_ms, language.locale), age: age(now - p.at_ms, language.locale)}));
  });
}

// mass is a number of kilograms with what it is.
const mass = (what, number) => h('span', {class: 'mass num'}, h('small', {}, what), ' ', number, ' ', h('small', {}, 'kg'));

export function showTickets({tickets, materials, up}, language) {
  const list = (tickets ?? []).slice(0, 30);
  $('tickets-empty').hidden = !tickets || list.length > 0;
  $('tickets').classList.toggle('stale', !up);
  const kg = (grams) => kilograms(grams, language.locale);
  const nets = aligned(list.map((t) => kg(t.net)));
  fill($('tickets'), JSON.stringify([language.name, materials.length, list.map((t) => t.number)]), () => list.map((t, i) => {
    const button = h('button', {type: 'button', class: 'row', 'data-ticket': t.number},
      h('b', {class: 'plate'}, t.vehicle),
      mass(language.t('net'), nets[i]),
      h('span', {class: 'what num number'}, h('bdi', {}, t.number)),
      h('span', {class: 'since num'}, language.t('gross-tare', {gross: kg(t.gross), tare: kg(t.tare)})),
      stored(numbers(t), language));
    button.addEventListener('click', () => openTicket(t, materials, language));
    return h('li', {}, button);
  }));
}

// showNotes tells what belts and balers have shown that was not counted; what is over stands there for a day.
export function showNotes({notes, up}, language) {
  const list = notes ?? [];
  $('notes-panel').hidden = list.length === 0;
  $('notes').classList.toggle('stale', !up);
  fill($('notes'), JSON.stringify([language.name, list]), () => list.map((n) => {
    const time = (ms) => dateTime(ms, language.locale), number = (v) => count(v, language.locale);
    return h('li', {'data-note': n.code, 'data-tone': n.over_ms ? 'calm' : 'warn'},
      h('b', {}, language.named(n, n.device)), ' ',
      h('span', {}, language.t('note-' + n.code, {shown: number(n.shown), known: number(n.known)})), ' ',
      h('small', {class: 'num'}, n.over_ms ? language.t('note-over', {time: time(n.at_ms), over: time(n.over_ms)}) : language.t('note-since', {time: time(n.at_ms)})));
  }));
}

// numbers are those of a ticket's weighings in the indicators' own memories, in the order of its masses.
function numbers(t) {
  return [t.gross_by, t.tare_by].map((w) => w?.alibi).filter(Boolean);
}

const stored = (numbers, language) => numbers.length > 0 ? h('span', {class: 'alibi num'}, language.t('alibi') + ' ' + numbers.join(' · ')) : null;

function openTicket(t, materials, language) {
  const mass = (grams) => kilograms(grams, language.locale) + ' kg';
  put($('ticket-title'), language.t('ticket', {number: t.number}));
  // A weight that its indicator has stored stands with its number and its time, digit for digit.
  const storedAs = (w) => w?.alibi ? '\n' + language.t('alibi') + ' ' + w.alibi + '\n' + w.text + ' ' + w.unit + ' · ' + dateTime(w.at_ms, language.locale) : '';
  const rows = [
    ['ticket-time', dateTime(t.at_ms, language.locale)],
    ['vehicle', t.vehicle],
    ['direction', language.t('direction-' + t.direction)],
    ['gross', mass(t.gross) + storedAs(t.gross_by)],
    ['tare', mass(t.tare) + storedAs(t.tare_by)],
    ['net', mass(t.net)],
    ['parts', t.parts.map((p) => materialName(materials, p.material, language) + ' ' + mass(p.mass)).join('\n')],
    ['flags', t.flags.map((f) => language.has('flag-' + f) ? language.t('flag-' + f) : f).join('\n') || language.t('flags-none')],
    ['entry', language.t('entry-n', {n: count(t.entry.n, language.locale)}) + ' · ' + t.entry.journal.slice(0, 8)],
    ['digest', t.entry.hash],
  ];
  $('ticket-facts').replaceChildren(...rows.map(([key, text]) => h('div', {'data-fact': key}, h('dt', {}, language.t(key)), h('dd', {class: 'num'}, text))));
  $('ticket').showModal();
}

const unansweredAfter = 60_000; // ms with a connection and without a receipt

export function showJournal({journal: j, now, up}, language) {
  const n = (value) => count(value, language.locale);
  const has = (prefix, word) => language.has(prefix + word) ? language.t(prefix + word) : word;
  const rows = !j ? [] : [
    ['journal-last', '#' + n(j.last), ''],
    ['journal-receipted', j.receipted > 0 ? language.t('to-n', {n: n(j.receipted)}) : language.t('nothing-yet'), ''],
    ['journal-backlog', j.oldest_ms > 0 && j.backlog > 0 ? language.t('backlog-since', {n: n(j.backlog), age: age(now - j.oldest_ms, language.locale)}) : language.t('backlog-of', {n: n(j.backlog)}), j.backlog > 0 ? 'calm' : ''],
    ['journal-link', j.unanswered_ms >= unansweredAfter ? language.t('link-unanswered', {age: age(j.unanswered_ms, language.locale)}) : has('link-', j.link),
      j.unanswered_ms >= unansweredAfter ? 'bad' : j.link === 'online' ? 'good' : 'warn'],
    ['journal-clock', has('clock-', j.clock), j.clock === 'synced' ? 'good' : j.clock === 'host' ? '' : 'warn'],
    ['journal-bytes', bytes(j.bytes, language.locale) + ' / ' + bytes(j.budget, language.locale), j.bytes > j.budget / 10 * 9 ? 'warn' : ''],
    ...(j.sample_every_ms > 0 ? [['journal-samples', language.t('samples-thinned', {n: n(j.sample_every_ms / 1000)}), 'warn']] : []),
    ['journal-version', language.version(j.version), ''],
  ];
  $('journal').classList.toggle('stale', !up);
  fill($('journal'), JSON.stringify([language.name, rows]), () => rows.map(([key, text, tone]) =>
    h('div', {'data-fact': key, 'data-tone': tone}, h('dt', {}, language.t(key)), h('dd', {class: 'num'}, text))));
}

function bytes(n, locale) {
  const units = [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]];
  const [unit, size] = units.find(([, size]) => n >= size) ?? units.at(-1);
  return new Intl.NumberFormat(locale, {maximumFractionDigits: 1}).format(n / size) + ' ' + unit;
}
