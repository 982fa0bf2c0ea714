/** The files that a Hugging Face folder has beside its weights, out of a GGUF file. */
import { openRegularFile } from '../../files/regular-file.ts';
import { TEMPLATE_FOLDER } from '../folder-files.ts';
import { byteSource, ggufPath } from './files.ts';
import { readGgufHeader } from './header.ts';
import { templateTexts, type TokenizerParts, tokenizerParts } from './tokenizers.ts';

/** Files beside weights, by name, or by path where they are in a folder. */
export interface Companions extends TokenizerParts {
  /** Differs where the file was written to. */
  readonly version: string;
}

/**
 * The files of a path.
 * @param tokenizer whether its files are made, too, which takes a second for large vocabularies. Default true
 * @returns undefined where the path is no GGUF file and no folder with one
 * @throws LinnetError as `ggufPath`, `readGgufHeader` and `tokenizerParts`
 */
export async function ggufCompanions(path: string, { tokenizer = true } = {}): Promise<Companions | undefined> {
  const packed = await ggufPath(path);
  if (packed === undefined) return undefined;
  await using file = await openRegularFile(packed);
  const { metadata, tensors } = await readGgufHeader(byteSource(file, packed), { arrays: tokenizer });
  // Ollama's Gemma 3 has a token of pictures more than rows of the table.
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
