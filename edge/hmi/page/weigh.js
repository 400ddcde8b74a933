// The weighing page: what the server's events say, put into words, and the operator's acts. Nothing
// is decided here: the server refuses what a rule forbids, and the page names the rule beforehand.

import {words} from './words.js';
import {Language} from './language.js';
import {Link} from './link.js';
import {$, fill, h, put} from './dom.js';
import {age, clock} from './measure.js';
import {Deck, codeOf, tone} from './deck.js';
import {Act} from './act.js';
import {showJournal, showNotes, showPassages, showTickets} from './lists.js';

const language = new Language(words);
const state = {decks: null, passages: null, notes: null, tickets: null, journal: null, materials: [], link: {up: null}, device: null};
let ahead = 0; // ms by which the server's clock is before ours
let decksAt = 0, heardAt = 0; // performance.now() of the newest decks, and of any event

const now = () => Date.now() + ahead;
const elapsed = () => performance.now() - decksAt;
const here = () => state.decks?.find((d) => d.device === state.device) ?? state.decks?.[0] ?? null;
const refused = () => (state.journal?.problem_code ?? '').startsWith('cloud');
const code = () => {
  const deck = codeOf(here(), elapsed(), state.link.up === true);
  return deck === 'captured' && refused() ? 'city-refuses' : deck;
};

const deck = new Deck();
const act = new Act(language, () => ({deck: here(), code: code(), passages: state.passages ?? [], tickets: state.tickets ?? [], materials: state.materials,
  up: state.link.up === true && state.passages !== null}));

async function loadMaterials() {
  try {
    const answer = await fetch('/api/materials', {cache: 'no-store'});
    if (!answer.ok) return;
    const said = Date.parse(answer.headers.get('Date') ?? '');
    if (!Number.isNaN(said) && Math.abs(said - Date.now()) > 2000) ahead = said - Date.now();
    state.materials = (await answer.json()).materials ?? [];
    show();
  } catch { /* the link says so, and this is asked again when it is back */ }
}

// loadCurves brings what the decks showed before this page listened.
async function loadCurves() {
  try {
    const answer = await fetch('/api/recent', {cache: 'no-store'});
    if (answer.ok) deck.recall((await answer.json()).curves ?? {});
  } catch { /* the link says so, and this is asked again when it is back */ }
}

function showHead() {
  const up = state.link.up;
  put($('clock'), clock(now(), language.locale));
  put($('name'), state.journal ? language.named(state.journal) : '');
  $('page-link').dataset.state = up === null ? 'unknown' : up ? 'good' : 'bad';
  put($('page-link-text'), language.t(up === null ? 'link-opening' : up ? 'link-up' : 'link-lost'));
  $('band').hidden = up !== false;
  if (up === false) put($('band'), heardAt ? language.t('band-lost', {age: age(performance.now() - heardAt, language.locale)}) : language.t('band-never'));
  const other = $('language');
  put(other, language.t('other-language'));
  other.lang = language.name === 'zh' ? 'en' : 'zh-CN';
}

function showTabs() {
  const decks = state.decks ?? [], chosen = here()?.device;
  $('tabs').hidden = decks.length < 2;
  const names = decks.map((d) => language.named(d, d.device));
  fill($('tabs'), JSON.stringify(names), () => decks.map((d, i) => {
    const tab = h('button', {type: 'button', role: 'tab', class: 'tab', 'data-device': d.device}, names[i]);
    tab.addEventListener('click', () => {
      state.device = d.device;
      show();
    });
    return tab;
  }));
  for (const tab of $('tabs').children) {
    tab.setAttribute('aria-selected', String(tab.dataset.device === chosen));
    tab.tabIndex = tab.dataset.device === chosen ? 0 : -1;
  }
}

function showDeck() {
  showTabs();
  deck.show(here(), elapsed(), state.link.up === true, language);
  const rule = state.link.up === null ? 'link' : code();
  put($('sentence'), language.t(state.link.up === null ? 'link-opening' : 'rule-' + (language.has('rule-' + rule) ? rule : 'other')));
  $('sentence').dataset.tone = state.link.up === null ? 'calm' : tone(rule);
  const problem = state.journal?.problem ?? '';
  $('problem').hidden = problem === '';
  const cause = 'problem-' + state.journal?.problem_code;
  $('problem').dataset.tone = 'bad';
  fill($('problem'), JSON.stringify([cause, problem, language.name]), () => problem === '' ? [] : [
    h('span', {}, language.t(language.has(cause) ? cause : 'problem-otherwise')), h('small', {lang: 'en'}, problem)]);
  act.show();
}

function showLists() {
  const all = {...state, now: now(), up: state.link.up === true};
  showPassages(all, act.chosen, (id) => {
    act.choose(id);
    showLists();
  }, language);
  showNotes(all, language);
  showTickets(all, language);
  showJournal(all, language);
}

function show() {
  showHead();
  showDeck();
  showLists();
}

const heard = (take) => (data) => {
  heardAt = performance.now();
  take(data);
};

state.link = new Link('/api/events', '/api/journal', {
  decks: heard((decks) => {
    state.decks = decks;
    decksAt = performance.now();
    deck.take(decks, true);
    showDeck();
  }),
  passages: heard((passages) => {
    state.passages = passages;
    act.show();
    showLists();
  }),
  notes: heard((notes) => {
    state.notes = notes;
    showLists();
  }),
  tickets: heard((tickets) => {
    state.tickets = tickets;
    showLists();
  }),
  journal: heard((journal) => {
    state.journal = journal;
    showDeck();
    showLists();
  }),
}, (up) => {
  if (up) {
    loadMaterials();
    loadCurves();
  }
  show();
});

$('language').addEventListener('click', () => {
  language.switch();
  language.apply();
  show();
});
$('tabs').addEventListener('keydown', (e) => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[e.key];
  if (!step) return;
  const tabs = [...$('tabs').children], at = tabs.indexOf(document.activeElement);
  const next = tabs[(at + step + tabs.length) % tabs.length];
  next.click();
  next.focus();
});
for (const id of ['unchoose', 'cancel', 'in', 'out']) $(id).addEventListener('click', () => showLists());
addEventListener('keydown', (e) => e.key === 'Escape' && showLists());
$('ticket-print').addEventListener('click', () => print());

// Ages grow although nothing is heard: a weight of which no news come turns grey by itself.
setInterval(() => {
  if (state.link.up && state.materials.length === 0) loadMaterials();
  show();
}, 500);

language.apply();
show();
