// Act: what the operator enters and does. An act keeps its number until it was answered, over a
// reload too, so that pressing again after a lost answer repeats the same act.

import {$, choices, fill, h, put} from './dom.js';
import {keep, recall} from './language.js';
import {hourMinute, kilograms, unknown} from './measure.js';

const patience = 20_000; // ms for an answer
const unansweredKey = 'steelyard.unanswered';
const dutyKey = 'steelyard.duty';
const longestShift = 12 * 3_600_000; // ms after which the weighmaster on duty is asked for again
const recentKey = 'steelyard.counterparties';
const mostRecent = 30;

// newPassage draws a random number in the form of RFC 9562. crypto.randomUUID is missing where the
// page comes over plain http from another machine; getRandomValues is not.
function newPassage() {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID();
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = b[6] & 0x0f | 0x40;
  b[8] = b[8] & 0x3f | 0x80;
  const hex = Array.from(b, (n) => n.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(unansweredKey));
  } catch {
    return null;
  }
}

function store(act) {
  try {
    if (act) sessionStorage.setItem(unansweredKey, JSON.stringify(act));
    else sessionStorage.removeItem(unansweredKey);
  } catch { /* forbidden: the number is kept as long as the page is open */ }
}

const direction = () => document.querySelector('[name=direction]:checked')?.value ?? '';
const destination = () => document.querySelector('[name=destination]:checked')?.value ?? '';
const kg = (grams, language) => kilograms(grams, language.locale) + ' kg';

const fresh = (duty) => Math.abs(Date.now() - duty.since) < longestShift;

// onDuty gives the weighmaster of this shift, {name, since}, or null when one is to be asked for.
function onDuty() {
  try {
    const duty = JSON.parse(recall(dutyKey));
    return duty?.name && fresh(duty) ? duty : null;
  } catch {
    return null;
  }
}

const setRadio = (name, value) => document.querySelectorAll(`[name=${name}]`).forEach((r) => r.checked = r.value === value);

export class Act {
  chosen = null; // id of the passage to be weighed out
  leaving = null; // {passage, vehicle} of a weigh-out that had no answer
  busy = false;
  said = null; // {tone, texts(language)}: what came of the last act

  constructor(language, look) {
    this.language = language;
    this.look = look; // gives {deck, code, passages, tickets, materials, up}
    this.recent = JSON.parse(recall(recentKey) ?? '[]');
    this.duty = onDuty();
    const before = stored();
    this.passage = before?.passage ?? newPassage();
    if (before) {
      for (const name of ['vehicle', 'counterparty']) $(name).value = before[name];
      if (!this.duty) $('operator').value = before.operator;
      this.material = before.material;
      setRadio('direction', before.direction);
      this.said = saying('warn', ['unanswered']);
    }
    $('in').addEventListener('click', () => this.weighIn());
    $('out').addEventListener('click', () => this.weighOut());
    $('cancel').addEventListener('click', () => this.cancel());
    $('unchoose').addEventListener('click', () => this.choose(null));
    $('form').addEventListener('submit', (e) => e.preventDefault());
    $('form').addEventListener('input', () => this.show());
    $('vehicle').addEventListener('input', () => this.typed());
    $('vehicle').addEventListener('change', () => {
      $('vehicle').value = plate($('vehicle').value);
      this.show();
    });
    $('operator').addEventListener('input', () => this.show());
    $('operator').addEventListener('change', () => this.begin($('operator').value.trim()));
    $('relieve').addEventListener('click', () => this.begin(''));
    addEventListener('storage', (e) => { // another tab of this desk
      if (e.key !== dutyKey) return;
      this.duty = onDuty();
      this.show();
    });
    $('material').addEventListener('change', () => this.material = $('material').value);
    $(this.duty ? 'vehicle' : 'operator').focus();
    addEventListener('keydown', (e) => {
      if ($('ticket').open) return;
      const does = {F2: 'in', F4: 'out'}[e.key];
      if (does) {
        e.preventDefault();
        this.show();
        if (!$(does).disabled) $(does).click();
      } else if (e.key === 'Escape' && this.chosen) this.choose(null);
    });
  }

  // begin puts a weighmaster on duty, or asks for one when the name is empty.
  begin(name) {
    this.duty = name === '' ? null : {name, since: Date.now()};
    keep(dutyKey, JSON.stringify(this.duty));
    $('operator').value = '';
    this.show();
    $(this.duty ? 'vehicle' : 'operator').focus();
  }

  // typed chooses the lorry on the site whose plate stands in the field, and none when it is another's.
  typed() {
    const text = plate($('vehicle').value);
    const found = this.look().passages.find((p) => p.vehicle === text);
    if ((found?.passage ?? null) === this.chosen) return;
    if (found || this.chosen) this.take(found?.passage ?? null);
  }

  // choose takes a lorry of the list, whose plate then stands in the field, or lets it go again.
  choose(id) {
    const taken = this.chosen === id ? null : id;
    $('vehicle').value = this.look().passages.find((p) => p.passage === taken)?.vehicle ?? '';
    this.take(taken);
  }

  take(id) {
    this.chosen = id;
    setRadio('destination', '');
    $('reason').value = '';
    $('cancelling').open = false;
    this.show();
  }

  // entered is what the form holds now, as it would be sent.
  entered() {
    const text = (id) => $(id).value.trim();
    return {vehicle: plate(text('vehicle')), direction: direction(), material: $('material').value, counterparty: text('counterparty'), operator: this.duty?.name ?? text('operator')};
  }

  // ruleIn and ruleOut name the rule that forbids the act, or give ''.
  ruleIn({deck, code, passages}) {
    const e = this.entered();
    if (this.busy) return 'busy';
    if (!deck?.may_weigh || code !== 'captured') return code === 'captured' ? 'no-weighing' : code;
    if (e.vehicle === '') return 'missing-vehicle';
    if (passages.some((p) => p.vehicle === e.vehicle && p.passage !== this.passage)) return 'vehicle-on-site';
    if (e.material === '') return 'missing-material';
    if (e.operator === '') return 'missing-operator';
    return '';
  }

  ruleOut({deck, code, passages}) {
    const p = passages.find((p) => p.passage === this.chosen);
    if (this.busy) return 'busy';
    if (!p) return passages.length > 0 ? 'missing-lorry' : 'unknown-passage';
    if (!deck?.may_weigh || code !== 'captured') return code === 'captured' ? 'no-weighing' : code;
    if (this.entered().operator === '') return 'missing-operator';
    if (p.direction === 'outbound' && destination() === '') return 'missing-destination';
    const net = netOf(p, deck);
    if (net !== null && net <= 0n) return 'negative-net';
    return '';
  }

  show() {
    const now = this.look(), {language} = this;
    const {passages, materials, deck} = now;
    this.settle(passages);
    if (this.chosen && !passages.some((p) => p.passage === this.chosen)) this.letGo();
    if (this.duty && !fresh(this.duty)) this.duty = null;
    this.menus(passages, materials);
    this.showFields();
    for (const [id, rule] of [['in', this.ruleIn(now)], ['out', this.ruleOut(now)]]) {
      $(id).disabled = rule !== '';
      put($(id + '-rule'), language.t(rule === '' ? 'allowed' : 'rule-' + rule));
      $(id + '-rule').dataset.allowed = rule === '';
    }
    this.showChosen(passages.find((p) => p.passage === this.chosen), deck, materials);
    this.showResult();
  }

  // letGo forgets a lorry that is no longer on the site, and its plate.
  letGo() {
    this.chosen = null;
    $('vehicle').value = '';
  }

  // showFields marks what must be entered and is not, and asks for the weighmaster once a shift.
  showFields() {
    const {language} = this;
    $('on-duty').hidden = !this.duty;
    put($('duty-name'), this.duty?.name ?? '');
    $('ask-duty').hidden = Boolean(this.duty);
    for (const label of document.querySelectorAll('[data-must]')) label.dataset.must = label.querySelector('input, select').value.trim() === '' ? 'open' : 'done';
    for (const e of document.querySelectorAll('.entry')) e.hidden = Boolean(this.chosen);
    put($('counterparty-is'), language.t(direction() === 'outbound' ? 'customer' : 'supplier'));
  }

  // settle ends an act without an answer by what the site shows: the lorry is there, or gone.
  settle(passages) {
    if (this.busy || !this.look().up) return;
    const begun = passages.find((p) => p.passage === this.passage);
    if (begun) {
      store(null);
      this.passage = newPassage();
      if (plate($('vehicle').value) === begun.vehicle) $('vehicle').value = $('counterparty').value = '';
      this.said = saying('good', ['found-in', () => ({vehicle: begun.vehicle})]);
    }
    if (this.leaving && !passages.some((p) => p.passage === this.leaving.passage)) {
      const {vehicle} = this.leaving;
      this.leaving = null;
      this.said = saying('good', ['found-out', () => ({vehicle})]);
    }
  }

  menus(passages, materials) {
    const {language} = this;
    const name = (m) => m.code.includes('/') ? materialName(materials, m.code.split('/')[0], language) + ' · ' + m[language.name] : m[language.name];
    choices($('material'), [['', language.t('material-choose')], ...materials.map((m) => [m.code, name(m)])]);
    if (this.material && $('material').value !== this.material && materials.some((m) => m.code === this.material)) $('material').value = this.material;
    const plates = [...new Set([...passages, ...this.look().tickets].map((x) => x.vehicle))];
    // The label lets "yu d 12" find the plate on a keyboard without Chinese input.
    fill($('vehicles'), plates.join(), () => plates.map((p) => h('option', {value: p, label: p.replace(/^豫/, 'yu')})));
    fill($('counterparties'), this.recent.join('\n'), () => this.recent.map((c) => h('option', {value: c})));
  }

  showChosen(p, deck, materials) {
    const {language} = this;
    $('chosen').hidden = !p;
    if (!p) return;
    put($('chosen-vehicle'), p.vehicle);
    put($('chosen-what'), language.t('chosen-what', {direction: language.t('direction-' + p.direction), material: materialName(materials, p.material, language), time: hourMinute(p.at_ms, language.locale)}) + (p.counterparty ? ' · ' + p.counterparty : ''));
    const net = netOf(p, deck);
    const first = p.weighing ? kg(p.weighing.mass, language) : unknown, second = net === null ? unknown : kg(deck.weighing.mass, language);
    const outbound = p.direction === 'outbound';
    put($('chosen-gross'), outbound ? second : first);
    put($('chosen-tare'), outbound ? first : second);
    put($('chosen-net'), net === null ? unknown : kg(net, language));
    $('chosen-net').classList.toggle('bad', net !== null && net <= 0n);
    $('destinations').hidden = p.direction !== 'outbound';
  }

  showResult() {
    const box = $('result'), {said, language} = this;
    box.hidden = !said;
    if (!said) return;
    box.dataset.tone = said.tone;
    const lines = said.texts(language);
    fill(box, lines.join('\n'), () => lines.map((line, i) => h('p', {class: i === 0 ? 'first' : 'more'}, line)));
  }

  say(tone, ...texts) {
    this.said = saying(tone, ...texts);
    this.show();
  }

  async weighIn() {
    const now = this.look();
    if (this.ruleIn(now) !== '') return;
    const body = {passage: this.passage, deck: now.deck.device, ...this.entered()};
    store(body);
    const answer = await this.send('/api/weigh-in', body);
    if (!answer) return;
    store(null);
    this.passage = newPassage();
    if (!answer.ok) return;
    this.recent = [body.counterparty, ...this.recent.filter((c) => c !== body.counterparty)].filter(Boolean).slice(0, mostRecent);
    keep(recentKey, JSON.stringify(this.recent));
    if (!this.duty) this.begin(body.operator);
    $('vehicle').value = $('counterparty').value = '';
    const {entry, mass, weighing} = answer.body;
    this.say('good', ['done-in', () => ({vehicle: body.vehicle, mass: kg(mass, this.language), n: entry.n})], weighing?.alibi && ['done-alibi', () => ({alibi: weighing.alibi})], answer.status === 200 && ['done-again']);
    $('vehicle').focus();
  }

  async weighOut() {
    const now = this.look();
    if (this.ruleOut(now) !== '') return;
    const p = now.passages.find((p) => p.passage === this.chosen);
    const body = {passage: p.passage, deck: now.deck.device, operator: this.entered().operator, destination: p.direction === 'outbound' ? destination() : ''};
    this.leaving = {passage: p.passage, vehicle: p.vehicle};
    const answer = await this.send('/api/weigh-out', body);
    if (answer) this.leaving = null;
    if (!answer?.ok) return;
    this.letGo();
    const t = answer.body, alibi = (p.direction === 'outbound' ? t.gross_by : t.tare_by)?.alibi;
    this.say('good', ['done-out', (l) => ({number: t.number, vehicle: t.vehicle, net: kg(t.net, l), n: t.entry.n})], alibi && ['done-alibi', () => ({alibi})], answer.status === 200 && ['done-again']);
    $('vehicle').focus();
  }

  async cancel() {
    const p = this.look().passages.find((p) => p.passage === this.chosen);
    const body = {passage: this.chosen, operator: this.entered().operator, reason: $('reason').value.trim()};
    const missing = ['operator', 'reason'].find((name) => body[name] === '');
    if (!p || missing) {
      if (missing) {
        this.say('warn', ['rule-missing-' + missing]);
        $(missing).focus();
      }
      return;
    }
    const answer = await this.send('/api/cancel', body);
    if (!answer?.ok) return;
    this.letGo();
    this.say('good', ['done-cancel', () => ({vehicle: p.vehicle})]);
  }

  // send gives the answer, or null when none came or the outcome is not known: then the same act is
  // to be sent again.
  async send(url, body) {
    if (this.busy) return null;
    this.busy = true;
    this.said = null;
    this.show();
    try {
      const res = await fetch(url, {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body), signal: AbortSignal.timeout(patience)});
      const answer = {ok: res.ok, status: res.status, body: await res.json()};
      this.busy = false;
      if (res.ok) return answer;
      const {code, detail} = answer.body;
      const key = 'rule-' + code;
      if (this.language.has(key)) this.say('bad', [key]);
      else this.say('bad', ['rule-other'], detail);
      return res.status < 500 ? answer : null;
    } catch {
      this.busy = false;
      this.say('warn', ['unanswered']);
      return null;
    } finally {
      this.show();
    }
  }
}

// saying is a message that can be said again in the other language: texts are words of a server as
// they are, or [key, values(language)].
function saying(tone, ...texts) {
  return {tone, texts: (language) => texts.filter(Boolean).map((t) => typeof t === 'string' ? t : language.t(t[0], t[1]?.(language)))};
}

// plate writes a number plate as it is recorded: upper case, without blanks and the middle dot.
export function plate(text) {
  return text.replace(/[\s·•]/g, '').toUpperCase();
}

// netOf is what the ticket would say if it were made now.
function netOf(p, deck) {
  if (!p.weighing || !deck?.weighing || !deck.may_weigh) return null;
  const first = BigInt(p.weighing.mass), second = BigInt(deck.weighing.mass);
  return p.direction === 'outbound' ? second - first : first - second;
}

export function materialName(materials, code, language) {
  const known = materials.find((m) => m.code === code);
  return known ? known[language.name] : code;
}
