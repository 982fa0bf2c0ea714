/** Reads a GGUF header with an independent reader: `node --import tsx check-gguf.ts FILE`. */
import { stat } from 'node:fs/promises';
import { gguf } from '@huggingface/gguf';

const [, , path] = process.argv;
const { metadata, tensorInfos, tensorDataOffset } = await gguf(path, { allowLocalFile: true });
const { size } = await stat(path);
const fields = new Map<string, unknown>(Object.entries(metadata));
const vocabulary = fields.get('tokenizer.ggml.tokens');
const summary = {
  version: fields.get('version'),
  architecture: fields.get('general.architecture'),
  layers: fields.get(`${String(fields.get('general.architecture'))}.block_count`),
  vocabulary: Array.isArray(vocabulary) ? vocabulary.length : undefined,
  tensors: tensorInfos.length,
  dataBytes: size - Number(tensorDataOffset),
  first: tensorInfos[0],
};
console.log(JSON.stringify(summary, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value)));
