// The page that shows what the package does.
import { load } from "./index.js";

const $ = (id) => document.getElementById(id);
const grouped = (number) => number.toLocaleString("en");
const decoder = new TextDecoder();
const BITS_OF_RED = 12; // a byte that costs so many is as red as can be

const model = await open();
let writing = null;

async function open() {
  const begun = performance.now();
  const onProgress = ({ loaded, total }) => {
    $("words").textContent = `Loading the model: ${grouped(Math.round(loaded / 1000))} KB`;
    if (total) $("progress").value = loaded / total;
  };
  try {
    const found = await load(new URL("default.cpu1", import.meta.url), { onProgress });
    const seconds = ((performance.now() - begun) / 1000).toFixed(2);
    $("progress").hidden = true;
    $("words").textContent = `Ready after ${seconds} s${found.relaxed ? ", with relaxed SIMD" : ""}.`;
    for (const id of ["write", "read", "pack"]) $(id).disabled = false;
    return found;
  } catch (error) {
    $("progress").hidden = true;
    $("words").textContent = `The model does not load: ${error.message}`;
    throw error;
  }
}

$("temperature").oninput = () => ($("heat").textContent = Number($("temperature").value).toFixed(1));
$("stop").onclick = () => writing?.abort();

$("write").onclick = async () => {
  writing?.abort();
  const mine = (writing = new AbortController());
  const prompt = $("prompt").value;
  $("stop").disabled = false;
  $("written").textContent = prompt;
  const options = { maxBytes: 600, temperature: Number($("temperature").value), seed: Number($("seed").value) >>> 0 };
  const begun = performance.now();
  let bytes = 0;
  let first = 0;
  try {
    for await (const piece of model.stream(prompt, { ...options, signal: mine.signal })) {
      first ||= performance.now();
      bytes += new TextEncoder().encode(piece).length;
      $("written").append(piece);
      const rate = bytes / Math.max(1, performance.now() - begun);
      $("speed").textContent = `${grouped(bytes)} bytes, ${rate.toFixed(1)} KB a second, the first after ${Math.round(first - begun)} ms`;
    }
  } catch (error) {
    if (!mine.signal.aborted) $("speed").textContent = error.message;
  }
  if (writing === mine) $("stop").disabled = true;
};

$("read").onclick = async () => {
  const { bytes, bits } = await model.score($("text").value);
  $("coloured").replaceChildren(...characters(bytes, bits).map(coloured));
  const total = bits.reduce((a, b) => a + b, 0);
  const each = bytes.length ? (total / bytes.length).toFixed(2) : "0";
  $("total").textContent = `${grouped(Math.round(total))} bits for ${grouped(bytes.length)} bytes: ${each} a byte`;
};

/** Characters of UTF-8 with the bits of all their bytes. */
function characters(bytes, bits) {
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    let end = at + 1;
    while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end += 1;
    let cost = 0;
    for (let i = at; i < end; i += 1) cost += bits[i];
    found.push({ text: decoder.decode(bytes.subarray(at, end)), cost });
    at = end;
  }
  return found;
}

function coloured({ text, cost }) {
  const letter = document.createElement("span");
  letter.textContent = text;
  letter.title = `${cost.toFixed(2)} bits`;
  letter.style.backgroundColor = `rgb(220 40 40 / ${Math.min(1, cost / BITS_OF_RED).toFixed(3)})`;
  return letter;
}

$("pack").onclick = async () => {
  const text = new TextEncoder().encode($("text").value);
  const archive = await model.compress(text);
  const back = await model.decompress(archive);
  if (back.length !== text.length || back.some((byte, i) => byte !== text[i])) throw new Error("another text came back");
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"));
  const gzip = (await new Response(stream).arrayBuffer()).byteLength;
  const rows = { "as it is": text.length, gzip, "CPU-1": archive.length };
  $("sizes").tBodies[0].replaceChildren(...Object.entries(rows).map(([name, size]) => row(name, size, text.length)));
  $("sizes").hidden = false;
  URL.revokeObjectURL($("archive").href);
  $("archive").href = URL.createObjectURL(new Blob([archive]));
  $("archive").hidden = false;
};

function row(name, size, whole) {
  const line = document.createElement("tr");
  for (const words of [name, grouped(size), whole ? `${Math.round((100 * size) / whole)}%` : ""]) {
    line.insertCell().textContent = words;
  }
  return line;
}
