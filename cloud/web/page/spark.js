// Spark: the sum of the belts' rates, now and over the last ten minutes of what this page saw.

import {$, put} from './dom.js';
import {decimal, sum, digits, unknown} from './measure.js';

const shortest = 60_000; // ms that the curve spans when the page is new
const longest = 600_000; // ms that it spans at most
const step = 2000; // ms between points
const hole = 15_000; // ms without a point: the curve is broken there, not drawn across

// Spark keeps its points in memory only: a page that was opened just now has no past.
export class Spark {
  points = []; // {at, rate} with rate null where nothing was known
  total = null;

  // take adds up the live rates. A belt whose rate is old is left out, and the page says so.
  take(values, up) {
    const belts = (values ?? []).filter((v) => v.tag === 'rate' && v.unit === 't/h');
    const live = up ? belts.filter((v) => v.live).map((v) => decimal(v.value)).filter((d) => d !== null) : [];
    this.belts = belts.length;
    this.live = live.length;
    this.total = live.length > 0 ? sum(live) : null;
    const at = performance.now(), last = this.points.at(-1);
    const rate = this.total && Number(this.total.coef) / 10 ** this.total.scale;
    if (!last || at - last.at >= step) {
      this.points.push({at, rate, exact: this.total});
      while (this.points[0].at < at - longest - step) this.points.shift();
    } else if (rate !== null && rate > (last.rate ?? -1)) {
      Object.assign(last, {rate, exact: this.total}); // between two points the highest counts
    }
  }

  show(language) {
    const card = $('rate');
    const number = card.querySelector('b');
    number.classList.toggle('stale', this.total === null);
    put(number, this.total ? digits(this.total, language.locale) : unknown);
    const key = this.total === null ? 'belts-none' : this.live < this.belts ? 'belts-partly' : 'belts-live';
    put(card.querySelector('.sub'), language.t(key, {n: this.live, all: this.belts}));
    this.draw(language);
  }

  draw(language) {
    const end = performance.now();
    const span = Math.min(longest, Math.max(shortest, end - (this.points[0]?.at ?? end)));
    put($('spark-span'), language.t('last-minutes', {n: Math.ceil(span / 60_000)}));
    const best = this.points.reduce((m, p) => (p.rate ?? -1) > (m?.rate ?? 0) ? p : m, null);
    const top = best ? best.rate * 1.15 : 1;
    put($('spark-max'), best ? language.t('peak', {rate: digits(best.exact, language.locale)}) : '');
    let line = '', area = '', open = null, last = null;
    const close = () => {
      if (open !== null) area += `L${last} 100L${open} 100Z`;
      open = null;
    };
    let before = 0;
    for (const p of this.points) {
      if (p.rate === null || p.at - before > hole) close();
      before = p.at;
      if (p.rate === null) continue;
      const x = (600 * (1 - (end - p.at) / span)).toFixed(1), y = (96 - 92 * p.rate / top).toFixed(1);
      const pen = open === null ? 'M' : 'L';
      line += `${pen}${x} ${y}`;
      area += `${pen}${x} ${y}`;
      open ??= x;
      last = x;
    }
    close();
    $('spark').querySelector('.line').setAttribute('d', line);
    $('spark').querySelector('.area').setAttribute('d', area);
  }
}
