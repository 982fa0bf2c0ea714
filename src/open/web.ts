/** `open` for browsers: an exported folder by its URL, ready to be asked. */
import { openRemoteModel, type OpenModelOptions } from '../browser/open-model.ts';
import type { OpenedCausal, OpenedEncoderDecoder } from './opened-model.ts';
import { textGenerator } from './text-generator.ts';

/**
 * Opens an exported model folder behind a URL. What it gives has the same names and does the same as in Node; sessions have
 * no files here.
 *
 * @param url of the folder, absolute or relative to the page
 * @throws LinnetError as `openModel`
 * @example
 * ```ts
 * await using model = await open('/model/', { cache: new CacheStorageWeights() });
 * for await (const text of model.generate('Once upon a time')) document.body.append(text);
 * ```
 */
export async function open(
  url: string | URL,
  options: OpenModelOptions = {},
): Promise<OpenedCausal | OpenedEncoderDecoder> {
  const { model, url: folder, ...opened } = await openRemoteModel(url, options);
  return textGenerator(model, { ...opened, family: model.family, origin: folder.href });
}
