// Of the package that release/wasm.py builds: node --test web/test/ (CPU1_WEB: where it is; CPU1_MODEL: a packed model)
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.env.CPU1_WEB ?? "build/web"}/`);
const { load, Refused } = await import(new URL("index.js", folder));
const file = new Uint8Array(readFileSync(process.env.CPU1_MODEL ?? new URL("default.cpu1", folder)));
const TEXT = "The sea was calm, and the captain slept. The sea was calm, and the crew sang. ";
let model;

before(async () => {
  model = await load(file);
});
after(() => model.close());

test("equal seeds give equal texts, piece by piece or whole", async () => {
  const options = { maxBytes: 50, seed: 7 };
  const pieces = [];
  for await (const piece of model.stream(TEXT, options)) pieces.push(piece);
  assert.equal(await model.generate(TEXT, options), pieces.join(""));
  assert.notEqual(await model.generate(TEXT, { ...options, seed: 8 }), pieces.join(""));
  assert.ok(new TextEncoder().encode(pieces.join("")).length <= 150); // a broken character is shown as three bytes
});

test("streams that run at once write what they write alone", async () => {
  const seeds = [1, 2, 3];
  const alone = [];
  for (const seed of seeds) alone.push(await model.generate(TEXT, { maxBytes: 40, seed }));
  assert.deepEqual(await Promise.all(seeds.map((seed) => model.generate(TEXT, { maxBytes: 40, seed }))), alone);
});

test("a stop string ends the text before it", async () => {
  const whole = await model.generate(TEXT, { maxBytes: 60, temperature: 0 });
  const stop = whole.slice(10, 13);
  assert.equal(await model.generate(TEXT, { maxBytes: 60, temperature: 0, stop }), whole.slice(0, whole.indexOf(stop)));
});

test("a loop that is left, and a signal, end the work", async () => {
  for await (const piece of model.stream(TEXT, { maxBytes: 1e6 })) {
    assert.ok(piece.length > 0);
    break;
  }
  const control = new AbortController();
  await assert.rejects(
    (async () => {
      for await (const _ of model.stream(TEXT, { maxBytes: 1e6, signal: control.signal })) control.abort();
    })(),
    { name: "AbortError" },
  );
  assert.equal((await model.score("a")).bits.length, 1); // which comes after them
});

test("scores are bits of each byte", async () => {
  const { bytes, bits } = await model.score(TEXT + "é");
  assert.equal(bits.length, bytes.length);
  assert.ok(bits.every((each) => each >= 0 && Number.isFinite(each)));
  const next = await model.nextBytes(TEXT);
  const { bits: more } = await model.score(TEXT + "T");
  assert.ok(Math.abs(-Math.log2(next["T".charCodeAt(0)]) - more.at(-1)) < 1e-3);
  assert.ok(next.reduce((a, b) => a + b, 0) <= 1 + 1e-9);
});

test("archives of any bytes come back", async () => {
  for (const bytes of [new Uint8Array(), new Uint8Array(256).map((_, i) => i), new TextEncoder().encode(TEXT.repeat(5))]) {
    for (const learn of [true, false]) {
      assert.deepEqual(await model.decompress(await model.compress(bytes, { learn })), bytes);
    }
  }
});

test("what is refused is said, and the model goes on", async () => {
  const archive = await model.compress(TEXT);
  archive[archive.length - 1] ^= 1;
  await assert.rejects(model.decompress(archive), { name: "Refused", message: /damaged/ });
  await assert.rejects(model.decompress(new Uint8Array(3)), Refused);
  await assert.rejects(load(file.slice(0, 1000)), { name: "Refused", message: /./ });
  await assert.rejects(load(new URL("no-such-file.cpu1", folder)), { message: /no-such-file/ });
  await assert.rejects(model.score(7), TypeError);
  await assert.rejects(model.generate(TEXT, { maxBytes: -1 }), { name: "TypeError", message: /maxBytes is -1/ });
  await assert.rejects(model.generate(TEXT, { heat: 1 }), { name: "TypeError", message: /no option heat/ });
  assert.equal((await model.generate(TEXT, { maxBytes: 5, temperature: 0 })).length, 5);
});

test("a model that is closed says so", async () => {
  const other = await load(file.slice());
  const asked = other.score(TEXT);
  other.close();
  await assert.rejects(asked, { name: "Refused", message: /closed/ });
  await assert.rejects(other.score(TEXT), /closed/);
});
