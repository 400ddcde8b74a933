// The city's page: what the server's events say, put into words and numbers. Nothing is kept but
// the newest of each event, and everything shown can be shown again in the other language.

import {words} from './words.js';
import {Language} from './language.js';
import {Link} from './link.js';
import {$, put} from './dom.js';
import {age, clock, day, unknown} from './measure.js';
import {showCards, showLoads, showTable, siteName} from './tonnage.js';
import {showSites} from './sites.js';
import {showAudit} from './audit.js';
import {loadAlarms, showAlarms, wanted} from './alarms.js';
import {Spark} from './spark.js';

const lateAfter = 60_000; // ms: a record that waits longer at its site makes today's tonnage provisional

const language = new Language(words);
const spark = new Spark();
const state = {city: null, totals: null, hour: null, sites: null, values: null, names: null, audit: null, alarms: null, curves: null, unposted: null, unread: {}, flow: 'collected', site: '', link: {up: null}, provisional: false};
let ahead = 0; // ms by which the server's clock is before ours
let valuesAt = 0, heardAt = 0; // performance.now() of the newest live event, and of any

const now = () => Date.now() + ahead;

async function loadCity() {
  try {
    const answer = await fetch('/api/city', {cache: 'no-store'});
    if (!answer.ok) return;
    const said = Date.parse(answer.headers.get('Date') ?? '');
    if (!Number.isNaN(said) && Math.abs(said - Date.now()) > 2000) ahead = said - Date.now();
    state.city = await answer.json();
    show();
  } catch { /* the link says so, and this is asked again when it is back */ }
}

function showCurves() {
  $('curves').hidden = !state.curves?.alarm;
  put($('curves'), state.curves?.alarm ? language.t('curves-alarm', {n: state.curves.parked.toLocaleString(language.locale)}) : '');
}

let asked = ''; // what the alarms shown hang on
async function followAlarms() {
  const want = wanted(state.sites);
  if (want === asked) return;
  asked = want;
  try {
    state.alarms = await loadAlarms() ?? state.alarms;
    showAlarms({...state, now: now()}, language);
  } catch {
    asked = ''; // asked for again with the next state
  }
}

// behind are the sites whose records may not all be here: silent ones, and those that say that a
// record waits for long.
function behind() {
  return (state.sites ?? []).filter((s) => !s.known || !s.online || (s.oldest_ms > 0 && now() - s.oldest_ms > lateAfter)).map((s) => s.site);
}

function showHead() {
  put($('city'), state.city?.name ?? unknown);
  put($('day'), state.totals || state.city ? day(state.totals?.day ?? state.city.day, language.locale) : unknown);
  put($('clock'), clock(now(), language.locale));
  const up = state.link.up;
  $('link').dataset.state = up === null ? 'unknown' : up ? 'good' : 'bad';
  put($('link-text'), language.t(up === null ? 'link-opening' : up ? 'link-up' : 'link-lost'));
  $('band').hidden = up !== false;
  if (up === false) put($('band'), heardAt ? language.t('band-lost', {age: age(performance.now() - heardAt, language.locale)}) : language.t('band-never'));
  document.body.classList.toggle('lost', up === false);
  const other = $('language');
  put(other, language.t('other-language'));
  other.lang = language.name === 'zh' ? 'en' : 'zh-CN';
}

function showProvisional() {
  const names = (state.city ? behind() : []).map((id) => siteName(state.city, id, language));
  state.provisional = names.length > 0;
  $('provisional').hidden = names.length === 0;
  put($('provisional'), names.length > 0 ? language.t('provisional', {names: names.join(language.t('list-comma'))}) : '');
}

// known is the state as it may be shown of a part of the ledger: what can't be read is not of now.
const known = (part) => state.unread[part] ? {...state, link: {up: false}} : state;

function showUnread() {
  const unread = ['totals', 'sites', 'hour'].some((part) => state.unread[part]);
  $('unread').hidden = !unread;
  put($('unread'), unread ? language.t('unread') : '');
}

function showLive() {
  showSites({...state, elapsed: performance.now() - valuesAt, now: now()}, language);
  spark.show(language);
}

function show() {
  showHead();
  showUnread();
  showProvisional();
  showCurves();
  showCards(known('totals'), language);
  showLoads(known('hour'), language);
  showTable(known('totals'), language);
  showLive();
  showAlarms({...state, now: now()}, language);
  showAudit(state, language);
}

const heard = (take) => (data) => {
  heardAt = performance.now();
  take(data);
};

state.link = new Link('/api/events', '/api/city', {
  live: heard((values) => {
    state.values = values;
    valuesAt = performance.now();
    spark.take(values, true);
    showLive();
  }),
  sites: heard((sites) => {
    state.sites = sites;
    followAlarms();
    showProvisional();
    showCards(known('totals'), language);
    showLive();
  }),
  totals: heard((totals) => {
    state.totals = totals;
    showHead();
    showCards(known('totals'), language);
    showTable(known('totals'), language);
  }),
  hour: heard((hour) => {
    state.hour = hour;
    showLoads(known('hour'), language);
  }),
  machines: heard((names) => {
    state.names = names;
    showLive();
  }),
  curves: heard((curves) => {
    state.curves = curves;
    showCurves();
  }),
  unposted: heard((unposted) => {
    state.unposted = unposted;
    showAlarms({...state, now: now()}, language);
  }),
  unread: heard((unread) => {
    state.unread = unread;
    show();
  }),
  audit: heard((audit) => {
    state.audit = audit;
    showAudit(state, language);
  }),
}, (up) => {
  if (up) loadCity();
  else spark.take(state.values, false);
  show();
});

$('language').addEventListener('click', () => {
  language.switch();
  language.apply();
  show();
});
$('site').addEventListener('change', (e) => {
  state.site = e.target.value;
  showTable(known('totals'), language);
});
$('flow').addEventListener('change', (e) => {
  state.flow = e.target.value;
  showTable(known('totals'), language);
});

// Ages grow and the curve moves although nothing is heard.
setInterval(() => {
  if (state.link.up && !state.city) loadCity();
  showHead();
  showProvisional();
  showLive();
}, 1000);

language.apply();
show();
