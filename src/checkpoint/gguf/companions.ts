/** Makes, from a GGUF file, the files that a Hugging Face folder has beside its weights. */
import { openRegularFile } from '../../files/regular-file.ts';
import { TEMPLATE_FOLDER } from '../folder-files.ts';
import { byteSource, ggufPath } from './files.ts';
import { readGgufHeader } from './header.ts';
import { templateTexts, type TokenizerParts, tokenizerParts } from './tokenizers.ts';

/** Files beside weights, by name, or by path inside a folder. */
export interface Companions extends TokenizerParts {
  /** Changes when the file is written to. */
  readonly version: string;
}

/**
 * A path's files.
 * @param tokenizer whether to make the tokenizer's files, which takes a second for large vocabularies. Default true
 * @returns undefined unless the path is a GGUF file or a folder with one
 * @throws LinnetError like `ggufPath`, `readGgufHeader` and `tokenizerParts`
 */
export async function ggufCompanions(path: string, { tokenizer = true } = {}): Promise<Companions | undefined> {
  const packed = await ggufPath(path);
  if (packed === undefined) return undefined;
  await using file = await openRegularFile(packed);
  const { metadata, tensors } = await readGgufHeader(byteSource(file, packed), { arrays: tokenizer });
  // Ollama's Gemma 3 has one picture token more than the table has rows.
  const rows = metadata.has('gemma3.mm.tokens_per_image') ? tensors.get('token_embd.weight')?.shape[0] : undefined;
  const parts: TokenizerParts = tokenizer
    ? tokenizerParts(metadata, packed, rows)
    : { json: new Map(), texts: new Map() };
  const texts = new Map(parts.texts);
  for (const [name, text] of templateTexts(metadata)) {
    texts.set(name === 'default' ? 'chat_template.jinja' : `${TEMPLATE_FOLDER}/${name}.jinja`, text);
  }
  return { json: parts.json, texts, version: file.version };
}
