// Audit: the comparison of what really happened with what the city's ledger holds.

import {$, h, put, fill} from './dom.js';
import {aligned, clock, count, gramsOf, tonnes as inTonnes, unknown} from './measure.js';
import {category, flows, siteName} from './tonnage.js';

const columns = ['emitted', 'journaled', 'in_ledger', 'lost', 'duplicated', 'altered', 'invented', 'pending'];
const wrong = new Set(['lost', 'duplicated', 'altered', 'invented']);

export function showAudit({audit, city, link}, language) {
  $('audit').hidden = !audit || !city; // without the city's names there are only codes
  if (!audit || !city) return;
  $('audit').classList.toggle('stale', !link.up);
  put($('audit-at'), language.t('audit-at', {time: clock(Date.parse(audit.at), language.locale)}));
  showVerdict(audit, language);
  const faults = $('faults');
  faults.hidden = audit.faults.length === 0;
  fill(faults, JSON.stringify([language.name, city, audit.faults]), () => audit.faults.map((f) => h('li', {}, faultText(f, city, language))));
  fill($('audit-sites'), JSON.stringify([language.name, city?.sites, audit.sites]), () => audit.sites.map((s) => book(s, city, language)));
  fill($('tonnes').tBodies[0], JSON.stringify([language.name, city?.categories, audit.tonnes]), () => tonnes(audit.tonnes, city, language));
}

function showVerdict(audit, language) {
  const all = Object.fromEntries(columns.map((c) => [c, audit.sites.flatMap((s) => s.kinds).reduce((n, k) => n + k[c], 0)]));
  const text = Object.fromEntries(columns.map((c) => [c, count(all[c], language.locale)]));
  const bad = [...wrong].some((c) => all[c] > 0);
  let detail = language.t('not-exact-tonnes');
  if (audit.exact) detail = language.t(all.pending > 0 ? 'exact-pending' : 'exact-detail', {n: text.in_ledger, pending: text.pending});
  else if (bad) detail = language.t('not-exact-detail', text);
  $('verdict').dataset.state = audit.exact ? 'good' : 'bad';
  fill($('verdict'), JSON.stringify([audit.exact, detail]), () => [
    h('strong', {}, language.t(audit.exact ? 'exact' : 'not-exact')), h('span', {}, detail)]);
}

// faultText says a fault in words. What fills them and has a name in the page's language is named.
function faultText({code, site, with: values}, city, language) {
  const word = (prefix) => (v) => language.has(prefix + v) ? language.t(prefix + v) : v;
  const material = (v) => v.includes('/') ? `${category(city, v.split('/')[0], language)} (${v})` : category(city, v, language);
  const naming = {kind: word('kind-'), flow: word('flow-'), direction: word('direction-'), way: word('direction-'),
    category: material, material, load: material};
  const named = Object.fromEntries(Object.entries(values).map(([slot, v]) => [slot, naming[slot] ? naming[slot](v) : v]));
  const fault = language.t('fault-' + code, named);
  return site ? language.t('fault-at', {site: siteName(city, site, language), fault}) : fault;
}

function book(site, city, language) {
  const name = siteName(city, site.site, language);
  return h('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': name},
    h('table', {class: 'lines'}, h('caption', {}, name),
      h('thead', {}, h('tr', {}, ...['kind', ...columns].map((c) => h('th', {scope: 'col'}, language.t(c))))),
      h('tbody', {}, ...site.kinds.map((k) => h('tr', {'data-kind': k.kind},
        h('th', {scope: 'row'}, language.has('kind-' + k.kind) ? language.t('kind-' + k.kind) : k.kind),
        ...columns.map((c) => h('td', {class: className(c, k[c])}, count(k[c], language.locale))))))));
}

function className(column, n) {
  const state = n === 0 ? 'none' : wrong.has(column) ? 'bad' : column === 'pending' ? 'warn' : '';
  return 'num ' + state;
}

function tonnes(rows, city, language) {
  const order = (r) => flows.indexOf(r.flow);
  const place = (r) => city?.categories.findIndex((c) => c.code === r.category) ?? 0;
  const sorted = [...rows].sort((a, b) => order(a) - order(b) || place(a) - place(b)).map((r) => {
    const truth = gramsOf(r.truth_kg), ledger = gramsOf(r.ledger_kg);
    return {...r, truth, ledger, off: truth === null || ledger === null ? null : ledger - truth};
  });
  const column = (of) => aligned(sorted.map((r) => r[of] === null ? unknown : inTonnes(r[of], language.locale)));
  const truths = column('truth'), ledgers = column('ledger'), offs = column('off');
  return sorted.map((r, i) => h('tr', {}, h('th', {scope: 'row'}, language.t('flow-' + r.flow)), h('td', {class: 'text'}, category(city, r.category, language)),
    h('td', {class: 'num'}, truths[i]), h('td', {class: 'num'}, ledgers[i]), h('td', {class: 'num ' + (r.off === 0n ? 'good' : 'warn')}, offs[i])));
}
