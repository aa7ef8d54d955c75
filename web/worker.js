// The worker of index.js: it holds one engine, answers calls, and lets streams take turns.
import { Engine, Refused } from "./engine.js";

const PIECE = 16; // bytes written between two looks at what the page wants
const PART = 2048; // bytes of a prompt or a text that are read between them

const port = typeof self === "undefined" ? (await import("node:worker_threads")).parentPort : self;
const cancelled = new Set();
let engine = null;

const hear = (message) => {
  if (message.cancel) cancelled.add(message.call);
  else void answer(message);
};
if (typeof self === "undefined") port.on("message", hear);
else port.onmessage = (event) => hear(event.data);

async function answer({ call, what, ...words }) {
  try {
    const result = await CALLS[what](words, call);
    port.postMessage({ call, result });
  } catch (error) {
    const refused = error instanceof Refused;
    port.postMessage({ call, error: { words: error.message, refused } });
  } finally {
    cancelled.delete(call);
  }
}

// Lets messages in. A timer would wait for some milliseconds.
const { port1, port2 } = new MessageChannel();
const turns = [];
port2.onmessage = () => turns.shift()();
if (port2.unref) {
  port1.unref();
  port2.unref();
}
const turn = () =>
  new Promise((resolve) => {
    turns.push(resolve);
    port1.postMessage(0);
  });

/** Calls body(part) for a text in parts; false if it was cancelled. */
async function inParts(bytes, call, body) {
  for (let at = 0; at < bytes.length; at += PART) {
    if (cancelled.has(call)) return false;
    body(bytes.subarray(at, at + PART));
    await turn();
  }
  return true;
}

const CALLS = {
  open({ module, file }) {
    engine = new Engine(module, file);
    return engine.about;
  },

  async stream({ prompt, stop, options }, call) {
    const { maxBytes = 256, seed = 0, learn = false, ...sampling } = options;
    const text = engine.begin(learn, seed);
    try {
      if (await inParts(prompt, call, (part) => engine.read(text, part))) await write(text, call, maxBytes, stop, sampling);
    } finally {
      engine.end(text);
    }
  },

  async score({ bytes, learn }, call) {
    const text = engine.begin(learn);
    const bits = new Float64Array(bytes.length);
    let at = 0;
    try {
      await inParts(bytes, call, (part) => {
        bits.set(engine.score(text, part), at);
        at += part.length;
      });
    } finally {
      engine.end(text);
    }
    return { bytes, bits };
  },

  async next({ bytes }, call) {
    const text = engine.begin();
    try {
      await inParts(bytes, call, (part) => engine.read(text, part));
      return engine.next(text);
    } finally {
      engine.end(text);
    }
  },

  compress: ({ bytes, learn }) => engine.compress(bytes, learn),
  decompress: ({ bytes }) => engine.decompress(bytes),
};

/** Sends what a text goes on with, and holds back what may become a stop string. */
async function write(text, call, most, stop, sampling) {
  const decoder = new TextDecoder();
  const longest = Math.max(0, ...stop.map((each) => each.length));
  let held = "";
  let left = most;
  for (;;) {
    if (cancelled.has(call)) return;
    const wanted = Math.min(PIECE, left);
    const bytes = wanted ? engine.generate(text, wanted, sampling) : new Uint8Array();
    left -= bytes.length;
    const last = bytes.length < wanted || !left;
    held += decoder.decode(bytes, { stream: !last });
    const found = stop.map((each) => held.indexOf(each)).filter((at) => at >= 0);
    const ends = found.length > 0 || last;
    const ready = found.length ? Math.min(...found) : last ? held.length : Math.max(0, held.length - longest + 1);
    if (ready) port.postMessage({ call, piece: held.slice(0, ready) });
    if (ends) return;
    held = held.slice(ready);
    await turn();
  }
}
