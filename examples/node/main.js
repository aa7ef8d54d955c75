// Continues a prompt by the C library, through the binding in cpu1.c.
//
//     cmake -S native -B build/library -DCPU1_LIBRARY=ON
//     cmake --build build/library --parallel 4
//     cc -shared -fPIC -O2 -I/usr/include/node -Inative/engine/api examples/node/cpu1.c \
//         -Lbuild/library/library -Wl,-rpath,$PWD/build/library/library -lcpu1 -o build/library/cpu1.node
//     node examples/node/main.js build/library/cpu1.node checkpoints/default.cpu1 "Once upon a time"
//
// node_api.h comes with Node.js: /usr/include/node is where Debian's packages have it.
const path = require("node:path");

const [, , binding, file, prompt] = process.argv;
if (prompt === undefined) {
  console.error("usage: node main.js BINDING MODEL.cpu1 PROMPT");
  process.exit(2);
}
const cpu1 = require(path.resolve(binding));
const model = cpu1.open(file);
const text = Buffer.from(prompt);
const bits = cpu1.score(model, text);
console.error(`the prompt has ${(bits.reduce((a, b) => a + b, 0) / bits.length).toFixed(3)} bits per byte`);
console.log(prompt + cpu1.generate(model, text, 120, 0.6, 42).toString());
