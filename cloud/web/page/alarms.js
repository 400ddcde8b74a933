// Alarms: what a person must look at, one line for each cause, the entries whose time can't be,
// and what is in no total.

import {$, fill, h, put} from './dom.js';
import {age, count, dateTime, tonnes} from './measure.js';
import {siteName} from './tonnage.js';

const mostShown = 50;

// wanted says what of the sites' states the lists hang on: when it changes they are asked for.
export const wanted = (sites) => (sites ?? []).filter((s) => s.alarms > 0 || s.suspects > 0).map((s) => [s.site, s.alarms, s.suspects].join()).join(' ');

export async function loadAlarms() {
  const [quarantine, suspects] = await Promise.all(['/api/quarantine', '/api/suspects'].map(async (url) => {
    const answer = await fetch(url, {cache: 'no-store'});
    return answer.ok ? answer.json() : null;
  }));
  if (!quarantine || !suspects) return null;
  return {causes: quarantine.quarantined.filter((c) => c.alarm).slice(0, mostShown), suspects: suspects.suspects.slice(0, mostShown)};
}

export function showAlarms({city, alarms, unposted, now}, language) {
  const causes = alarms?.causes ?? [], suspects = alarms?.suspects ?? [], left = unposted ?? [];
  $('alarms').hidden = !city || causes.length + suspects.length + left.length === 0;
  if ($('alarms').hidden) return;
  const n = (value) => count(value, language.locale);
  const site = (id) => siteName(city, id, language);
  put($('alarms-count'), n(causes.length + suspects.length + left.length));
  fill($('alarms-list'), JSON.stringify([language.name, causes, suspects, left]), () => [
    ...causes.map((c) => h('li', {'data-reason': c.reason},
      language.t('alarm-line', {site: site(c.site), what: language.has('alarm-' + c.reason) ? language.t('alarm-' + c.reason) : c.reason, n: n(c.times), age: age(now - c.last_ms, language.locale)}),
      ' ', h('small', {lang: 'en'}, c.why))),
    ...suspects.map((s) => h('li', {'data-reason': 'time-suspect'},
      language.t('suspect-line', {site: site(s.site), number: s.number, mass: tonnes(s.grams, language.locale) + ' t', at: dateTime(s.at_ms, language.locale), counted: dateTime(s.counted_ms, language.locale)}),
      ' ', h('small', {class: 'num', lang: 'en'}, s.journal + ' #' + s.n))),
    ...left.map((e) => h('li', {'data-reason': 'unposted'},
      language.t('unposted-line', {site: site(e.site), kind: language.has('kind-' + e.kind) ? language.t('kind-' + e.kind) : e.kind, n: n(e.n), at: dateTime(e.at_ms, language.locale)}),
      ' ', h('small', {lang: 'en'}, e.why)))]);
}
