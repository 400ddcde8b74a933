// Measures: masses, decimals, ages and times as people read them. Masses are whole grams and are
// divided as integers, so that no shown digit was ever rounded by a floating point division.

export const zone = 'Asia/Shanghai';

// unknown is shown for what is not known; it is never 0.
export const unknown = '—';

// decimal reads digits such as "-12.50" exactly: value = coef / 10^scale. It gives null for anything else.
export function decimal(text) {
  const m = /^([+-]?)(\d{1,18})(?:\.(\d{1,9}))?$/.exec(String(text));
  if (!m) return null;
  const fraction = m[3] ?? '';
  const coef = BigInt(m[2] + fraction);
  return {coef: m[1] === '-' ? -coef : coef, scale: fraction.length};
}

// sum adds decimals exactly, with as many places as the finest of them.
export function sum(decimals) {
  const scale = Math.max(0, ...decimals.map((d) => d.scale));
  return {coef: decimals.reduce((all, d) => all + d.coef * 10n ** BigInt(scale - d.scale), 0n), scale};
}

// digits writes a decimal with the grouping and the point of a locale.
export function digits({coef, scale}, locale) {
  const negative = coef < 0n;
  const all = (negative ? -coef : coef).toString().padStart(scale + 1, '0');
  const whole = new Intl.NumberFormat(locale).format(BigInt(all.slice(0, all.length - scale)));
  const point = new Intl.NumberFormat(locale).formatToParts(0.5).find((p) => p.type === 'decimal').value;
  return (negative ? '−' : '') + whole + (scale > 0 ? point + all.slice(all.length - scale) : '');
}

// places brings a decimal to at least so many places, and drops zeros beyond them.
function places({coef, scale}, least) {
  for (; scale < least; scale++) coef *= 10n;
  for (; scale > least && coef % 10n === 0n; scale--) coef /= 10n;
  return {coef, scale};
}

// kilograms and tonnes write grams in the one unit of a page. Tonnes show kilograms; a gram that is
// there is never dropped.
export function kilograms(grams, locale) {
  return digits(places({coef: BigInt(grams), scale: 3}, 0), locale);
}

export function tonnes(grams, locale) {
  return digits(places({coef: BigInt(grams), scale: 6}, 3), locale);
}

// aligned pads numbers on the right so that, each set from the right in figures of one width, their
// points stand below each other.
export function aligned(numbers) {
  const decimals = (n) => n.includes('.') ? n.length - n.indexOf('.') - 1 : 0;
  const most = Math.max(0, ...numbers.map(decimals));
  return numbers.map((n) => n + (decimals(n) === 0 && most > 0 ? '\u2008' : '') + '\u2007'.repeat(most - decimals(n)));
}

// gramsIn reads a decimal number of g, kg or t as grams, and gramsOf one of kilograms; null when it is none.
export function gramsIn(text, unit) {
  const d = decimal(text), scale = {g: 0, kg: 3, t: 6}[unit];
  if (!d || scale === undefined) return null;
  const fine = places(d, scale);
  return fine.scale === scale ? fine.coef : null;
}

export function gramsOf(kilograms) {
  return gramsIn(kilograms, 'kg');
}

export function count(n, locale) {
  return new Intl.NumberFormat(locale).format(n);
}

const spans = [[86_400_000, 'day'], [3_600_000, 'hour'], [60_000, 'minute'], [1000, 'second']];

// age writes a span in its largest whole unit: "12 秒", "3 min".
export function age(ms, locale) {
  const [length, unit] = spans.find(([span]) => ms >= span) ?? spans.at(-1);
  return new Intl.NumberFormat(locale, {style: 'unit', unit, unitDisplay: 'short'}).format(Math.max(0, Math.floor(ms / length)));
}

export function clock(ms, locale) {
  return new Intl.DateTimeFormat(locale, {timeZone: zone, hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23'}).format(ms);
}

export function hourMinute(ms, locale) {
  return new Intl.DateTimeFormat(locale, {timeZone: zone, hour: '2-digit', minute: '2-digit', hourCycle: 'h23'}).format(ms);
}

export function dateTime(ms, locale) {
  return new Intl.DateTimeFormat(locale, {timeZone: zone, month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', hourCycle: 'h23'}).format(ms);
}

// day writes a business day such as "2026-11-23". It is a date and no moment: no zone moves it.
export function day(text, locale) {
  const at = Date.parse(text + 'T00:00:00Z');
  if (Number.isNaN(at)) return text;
  return new Intl.DateTimeFormat(locale, {timeZone: 'UTC', year: 'numeric', month: 'long', day: 'numeric', weekday: 'long'}).format(at);
}
