// Deck: what the indicator shows now, digit for digit, with its lamps and the last thirty seconds.

import {$, h, put, fill} from './dom.js';
import {age, clock, kilograms, unknown} from './measure.js';

const staleAfter = 2000; // ms: an older weight is not shown as one
const span = 30_000; // ms of the curve
const hole = 2500; // ms without a point: the curve is broken there

const lamps = ['stable', 'zero', 'over', 'under', 'line'];
const calm = new Set(['captured', 'recording', 'registering', 'empty', 'moving']);

export function ageOf(deck, elapsed) {
  return deck.age_ms + elapsed;
}

// isFresh reports whether what a deck shows is of now. It may be no load: of a net weight, say, the mass is null.
export function isFresh(deck, elapsed, up) {
  return Boolean(up && deck && deck.text !== '' && ageOf(deck, elapsed) <= staleAfter);
}

// codeOf is the rule that stands for a deck: the server's code, or what the page knows better.
export function codeOf(deck, elapsed, up) {
  if (!up) return 'link';
  if (!deck) return 'no-deck';
  if (elapsed > staleAfter) return 'silent';
  return deck.state || 'recording';
}

export class Deck {
  curves = new Map(); // device → [{at, mass}], oldest first; a mass of null is a hole

  // recall puts what the server has seen before in place of what the page has: it was opened just now,
  // or has not heard the server for a while.
  recall(curves) {
    const now = performance.now();
    for (const [device, points] of Object.entries(curves)) this.curves.set(device, points.map((p) => ({at: now - p.age_ms, mass: p.mass})));
  }

  take(decks, up) {
    const at = performance.now();
    for (const d of decks) {
      const points = this.curves.get(d.device) ?? [];
      points.push({at, mass: isFresh(d, 0, up) ? d.mass : null});
      while (points[0].at < at - span - hole) points.shift(); // one beyond the edge: the line comes from there
      this.curves.set(d.device, points);
    }
  }

  show(deck, elapsed, up, language) {
    const fresh = isFresh(deck, elapsed, up);
    const text = deck?.text || unknown;
    put($('digits'), text);
    put($('unit'), deck?.text ? deck.unit : '');
    $('weight').classList.toggle('stale', !fresh);
    $('weight').style.setProperty('--digits', Math.max(5, text.length));
    put($('deck-title'), deck ? language.named(deck, language.t('weight')) : language.t('weight'));
    put($('deck-id'), deck?.device ?? '');
    put($('plate'), deck ? language.t('capacity', {max: kilograms(deck.max, language.locale), e: kilograms(deck.division, language.locale)}) : '');
    const old = deck ? ageOf(deck, elapsed) : 0;
    // A device that has never spoken has the age 0 and no text.
    const never = !deck || (deck.state === 'silent' && deck.age_ms === 0);
    put($('age'), fresh ? '' : never ? language.t('age-never') : language.t('age', {age: age(old, language.locale)}));
    // The number under which the indicator itself has stored what stands on the deck.
    const stored = fresh && deck.weighing?.alibi ? deck.weighing : null;
    $('stored').hidden = !stored;
    put($('stored-number'), stored?.alibi ?? '');
    put($('stored-weight'), stored ? stored.text + ' ' + stored.unit + ' · ' + clock(stored.at_ms, language.locale) : '');
    this.lamps(deck, codeOf(deck, elapsed, up), up, language);
    this.draw(deck, language);
  }

  lamps(deck, code, up, language) {
    const known = up && deck && code !== 'silent';
    const on = known ? {
      // An indicator without a stability flag says nothing; then the capture rule has judged.
      stable: deck.stable ?? (code === 'captured' || code === 'used' || code === 'recording' || code === 'registering' ? true : code === 'moving' ? false : null),
      zero: deck.zero,
      over: code === 'over',
      under: code === 'under' || code === 'negative',
      line: true,
    } : {stable: null, zero: null, over: null, under: null, line: up && deck ? false : null};
    for (const name of lamps) {
      const li = document.querySelector(`[data-lamp=${name}]`);
      const state = on[name] === null ? 'unknown' : on[name] ? 'on' : 'off';
      const text = language.t('lamp-' + name), word = language.t('lamp-' + state);
      fill(li, [text, word].join(), () => [h('i', {'aria-hidden': 'true'}), h('span', {}, text), h('span', {class: 'sr'}, ' ' + word)]);
      li.dataset.on = state;
    }
  }

  draw(deck, language) {
    const points = (deck && this.curves.get(deck.device)) ?? [];
    const known = points.filter((p) => p.mass !== null).map((p) => p.mass);
    const top = nice(Math.max(deck ? deck.division * 50 : 1, ...known)), low = Math.min(0, ...known);
    const end = performance.now();
    let line = '', area = '', first = null, last = null, before = 0;
    const close = () => {
      if (first !== null) area += `L${last} 96L${first} 96Z`;
      first = null;
    };
    for (const p of points) {
      if (p.mass === null || p.at - before > hole) close();
      before = p.at;
      if (p.mass === null) continue;
      const x = (300 * (1 - (end - p.at) / span)).toFixed(1), y = (96 - 92 * (p.mass - low) / (top - low)).toFixed(1);
      line += (first === null ? 'M' : 'L') + x + ' ' + y;
      area += (first === null ? 'M' : 'L') + x + ' ' + y;
      first ??= x;
      last = x;
    }
    close();
    $('curve').querySelector('.line').setAttribute('d', line);
    $('curve').querySelector('.area').setAttribute('d', area);
    put($('curve-top'), known.length > 0 ? kilograms(top, language.locale) + ' kg' : '');
    put($('curve-bottom'), known.length > 0 ? kilograms(low, language.locale) + ' kg' : '');
  }
}

// nice is the next of 1, 2, 3, 4, 5, 6, 8, 10 times a power of ten.
function nice(grams) {
  let power = 1000;
  while (power * 10 < grams) power *= 10;
  return [1, 2, 3, 4, 5, 6, 8, 10].map((n) => n * power).find((n) => n >= grams);
}

// tone is the colour of a rule: good when the operator may act, calm while nothing is wrong.
export function tone(code) {
  return code === 'captured' ? 'good' : calm.has(code) ? 'calm' : code === 'over' || code === 'silent' || code === 'link' || code === 'no-weight' ? 'bad' : 'warn';
}
