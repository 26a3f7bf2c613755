// Makes json-keys.json, what JSON.parse reads of texts whose keys are alike:
//
//	node protocol/testdata/json-keys.mjs > protocol/testdata/json-keys.json

const keys = ['event', 'channel', 'id', 'user_id', 'socket_id', 'data'];

// Spellings that a decoder that folds case takes for the key, and escapes that
// are the key.
const spellings = (key) => [
  key,
  key,
  key.toUpperCase(),
  key[0].toUpperCase() + key.slice(1),
  key.replace('_i', '_I'),
  key.replace('s', '\u017f'),
  key.replace('k', '\u212a'),
  '\\u00' + key.charCodeAt(0).toString(16) + key.slice(1),
  key + '\\u0000',
  ' ' + key,
  key + ' ',
];

const values = ['"a"', '"b"', '""', '1', '-0', '1e3', 'true', 'null', '{"id":"x","ID":"y"}', '[]', '["a",null]', '"\\ud83d\\ude00"', '"\\/"'];

let state = 1;
const pick = (list) => {
  state = (state * 1103515245 + 12345) % 2147483648;
  return list[Math.floor((state / 2147483648) * list.length)];
};

const texts = new Set([
  '', ' ', '{}', ' {} ', '[]', 'null', '"a"', '{"id":"a"}{}', '{"id":"a"},', '{"id":"a",}', '{"id":"a" "x":1}', '{id:"a"}', "{'id':'a'}",
  '{"id":01}', '{"id":+1}', '{"id":.5}', '{"id":NaN}', '{"id":"a\nb"}', '{"id":"\\x41"}', '{"id":"\\u12"}', '{"id":undefined}',
  '/* */{"id":"a"}', '{"id":"a"}//', '\ufeff{"id":"a"}', '{"id"\u00a0:"a"}', '{"id":"a"}\u0000', '{"id":tru}', '{"id":"a"', '{"id":',
  '{"__proto__":{"id":"a"}}', '{"id":"a","id":null}', '{"id":null,"id":"a"}', '{"":"a"}',
]);
while (texts.size < 400) {
  const members = [];
  for (let n = 1 + Math.floor(texts.size / 150); n >= 0; n--) {
    members.push(`"${pick(spellings(pick(keys)))}"${pick(['', ' ', '\t'])}:${pick(['', '\n'])}${pick(values)}`);
  }
  texts.add(`{${members.join(pick([',', ' , ']))}}`);
}

const rows = [...texts].map((text) => {
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { text, valid: false };
  }
  const read = {};
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) {
    for (const key of keys) {
      if (Object.hasOwn(parsed, key)) {
        read[key] = parsed[key];
      }
    }
  }
  return { text, valid: true, read };
});
process.stdout.write('[\n' + rows.map((row) => JSON.stringify(row)).join(',\n') + '\n]\n');
