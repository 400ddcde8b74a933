// The one stream of all pages of a browser that are open here and seen. A browser opens only six
// connections to a server: six pages with a stream each would leave none for any request.

import {Stream} from './stream.js';
import {Told} from './told.js';

const beat = 2000; // ms between two signs of life to the pages
const silence = 20_000; // ms after which a page that said nothing is gone
const linger = 2000; // ms that the stream is kept when no page is left: one may just be loaded again

const pages = new Map(); // port → performance.now() when it was last heard
let stream = null, told = new Told(), ending = null;

function tell(message) {
  for (const port of pages.keys()) port.postMessage(message);
}

function enter(port, hello) {
  clearTimeout(ending);
  pages.set(port, performance.now());
  if (stream) {
    port.postMessage({up: stream.up});
    if (stream.up) for (const [name, text] of told.all()) port.postMessage({name, text});
    return;
  }
  told = new Told();
  stream = new Stream(hello, (name, text) => {
    told.take(name, text);
    tell({name, text});
  }, (up) => tell({up}));
}

function leave(port) {
  pages.delete(port);
  if (pages.size > 0 || !stream) return;
  clearTimeout(ending);
  ending = setTimeout(() => {
    stream.close();
    stream = null;
  }, linger);
}

addEventListener('connect', ({ports: [port]}) => {
  port.onmessage = ({data}) => {
    if (data.hello) enter(port, data.hello);
    else if (data.bye) leave(port);
    else if (pages.has(port)) pages.set(port, performance.now());
  };
});

setInterval(() => {
  for (const [port, heard] of [...pages]) if (performance.now() - heard > silence) leave(port);
  tell({beat: true});
}, beat);
