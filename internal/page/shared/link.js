// Link: what a page is told by its server, with the truth about whether it still is. All pages of a
// browser share one stream; where a browser can't share, a page has its own. A page that nobody sees
// has none.

import {Stream} from './stream.js';
import {Told} from './told.js';

const silence = 10_000; // ms without a word of the worker after which another is called
const early = 5000; // ms for its first word; then the page has a stream of its own
const sign = 5000; // ms between two signs of life to the worker

export class Link {
  // on: event name → function(data). probe: a small address of the same server. changed(up) is
  // called whenever the connection is lost (false) or there again (true), and with null when the
  // page goes out of sight.
  constructor(url, probe, on, changed) {
    Object.assign(this, {on, changed, up: null, line: null, shared: 'SharedWorker' in globalThis, hello: {url, probe, names: [...Object.keys(on), 'tick']}});
    document.addEventListener('visibilitychange', () => document.hidden ? this.rest() : this.wake());
    addEventListener('pagehide', () => this.rest());
    addEventListener('pageshow', () => this.wake());
    setInterval(() => this.watch(), 1000);
    this.wake();
  }

  wake() {
    if (document.hidden || this.line) return;
    this.told = new Told();
    const take = (name, text) => this.take(name, text), changed = (up) => this.say(up);
    this.line = this.shared ? new Shared(this.hello, take, changed, () => this.alone()) : new Stream(this.hello, take, changed);
  }

  rest() {
    this.line?.close();
    this.line = null;
    this.say(null);
  }

  // alone gives up sharing: the worker can't be had in this browser.
  alone() {
    this.shared = false;
    this.rest();
    this.wake();
  }

  watch() {
    if (!(this.line instanceof Shared)) return;
    const {heard, began} = this.line, now = performance.now();
    if (!heard && now - began > early) this.alone();
    else if (heard && now - heard > silence) {
      this.rest();
      this.wake();
    } else this.line.sign(now);
  }

  say(up) {
    if (this.up === up) return;
    this.up = up;
    this.changed(up);
  }

  take(name, text) {
    const document = this.told.take(name, text);
    if (document) this.give(document);
    if (name === 'tick') this.told.ripe().forEach((table) => this.give(table));
  }

  give(name) {
    this.on[name](this.told.value(name));
  }
}

// Shared is the stream of the worker that all pages share.
class Shared {
  constructor(hello, take, changed, failed) {
    this.began = this.signed = performance.now();
    this.heard = 0;
    const worker = new SharedWorker('/stream-worker.js', {type: 'module', name: 'steelyard'});
    worker.onerror = () => this.port && failed();
    this.port = worker.port;
    this.port.onmessage = ({data}) => {
      if (!this.port) return;
      this.heard = performance.now();
      if (data.name) take(data.name, data.text);
      else if (typeof data.up === 'boolean') changed(data.up);
    };
    this.port.postMessage({hello});
  }

  sign(now) {
    if (now - this.signed < sign) return;
    this.signed = now;
    this.port.postMessage({here: true});
  }

  close() {
    this.port.postMessage({bye: true});
    this.port.close();
    this.port = null;
  }
}
