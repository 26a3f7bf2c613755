// What editors say of a configuration.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import Ajv from 'ajv/dist/2020.js';
import { parse } from 'yaml';

const file = new URL('../../config.schema.json', import.meta.url);
const ajv = new Ajv({ strict: false });
let validate;

/** Fails if editors mark a mistake in a configuration that Belfry accepts. */
export function assertSchemaAccepts(config) {
  validate ??= ajv.compile(JSON.parse(readFileSync(file, 'utf8')));
  assert.ok(validate(parse(config)), `the schema refuses ${config}\n${ajv.errorsText(validate.errors)}`);
}
