// Stream: the events of a server, with the truth about whether they still come. It runs in a page or
// in the worker that all pages of a browser share.
//
// The browser's own reconnection gives up when a server answers with an error, and notices nothing
// when the line dies without a word. So the server is asked after a silence, and connected again.

const quiet = 4000; // ms without an event after which the server is asked
const patience = 4000; // ms for its answer, and for a connection to open
const pauses = [500, 1000, 2000, 4000]; // ms before connecting again

export class Stream {
  // hello: {url, probe, names}, of the events, of a small address of the same server, and of the
  // events to take. take(name, text) is called with each, changed(up) when the connection is lost
  // or there again.
  constructor(hello, take, changed) {
    Object.assign(this, hello, {take, changed, up: null, tries: 0, heard: 0, source: null, asking: false});
    this.open();
    this.timer = setInterval(() => this.watch(), 1000);
    this.online = () => this.soon(0);
    addEventListener('online', this.online);
  }

  close() {
    clearInterval(this.timer);
    clearTimeout(this.again);
    removeEventListener('online', this.online);
    this.source.close();
    this.source = null;
  }

  open() {
    clearTimeout(this.again);
    this.again = null;
    this.source?.close();
    const source = this.source = new EventSource(this.url);
    this.opened = performance.now();
    source.onopen = () => source === this.source && this.alive();
    source.onerror = () => source === this.source && this.lost();
    for (const name of this.names) {
      source.addEventListener(name, (e) => {
        if (source !== this.source) return;
        this.alive();
        this.take(name, e.data);
      });
    }
  }

  alive() {
    this.heard = performance.now();
    this.tries = 0;
    this.say(true);
  }

  lost() {
    this.source.close();
    this.say(false);
    if (!this.again) this.soon(pauses[Math.min(this.tries++, pauses.length - 1)]);
  }

  soon(ms) {
    if (this.up) return;
    clearTimeout(this.again);
    this.again = setTimeout(() => this.open(), ms);
  }

  say(up) {
    if (this.up === up) return;
    this.up = up;
    this.changed(up);
  }

  // watch asks the server after a silence: nothing may have changed, or nobody may be there.
  async watch() {
    if (this.again || this.asking) return;
    if (this.source.readyState === EventSource.CONNECTING) {
      if (performance.now() - this.opened > patience) this.lost();
      return;
    }
    if (performance.now() - this.heard < quiet) return;
    this.asking = true;
    const source = this.source;
    try {
      const answer = await fetch(this.probe, {signal: AbortSignal.timeout(patience), cache: 'no-store'});
      if (!answer.ok) throw new Error('status ' + answer.status);
      this.heard = performance.now();
    } catch {
      if (source && source === this.source && !this.again) this.lost();
    } finally {
      this.asking = false;
    }
  }
}
